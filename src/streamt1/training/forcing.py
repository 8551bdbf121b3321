"""Teacher forcing in one pass: a clean and a noisy copy of each chunk, masked as a rollout's memory would show them.

Layout on the frame axis: chunks 0..K-2 clean (nothing looks at a clean last chunk), then chunks 0..K-1 noisy. Chunk t,
in either copy, sees the clean chunks that SPEC section 5's memory holds when t is generated, and itself: the sink
(chunk 0), the last two chunks, and, where given, earlier chunks that joined the sink when they left the window. Each
chunk, in either copy, reads the text of its scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from streamt1.backbones.wan.model import TextContext, WanModel
from streamt1.backbones.wan.rope import rotate, shift_angles

CHUNK = 3
"""Latent frames of a chunk."""
LOCAL = 2
"""Past chunks in the window besides the sink."""
APPENDED = 2
"""Chunks that may be appended to the sink."""
SLOTS = APPENDED + 4
HIDDEN = -1e4


@dataclass(frozen=True)
class Layout:
    """How one batch is laid out.

    Attributes:
        chunks: K, chunks of a clip.
        appended: [B, APPENDED] indices of the chunks that were appended to the sink, 0 for none. One joins the sink
            when it leaves the window, so chunks from appended + LOCAL + 1 on see it.
        tokens: tokens of a chunk.
    """

    chunks: int
    appended: Tensor
    tokens: int

    def bias(self) -> Tensor:
        """[B, K, 1, 1, SLOTS * tokens]: 0 where chunk t may look, else HIDDEN; slots sink, appended, t-2, t-1, self."""
        t = torch.arange(self.chunks, device=self.appended.device)[None]
        extra = self.appended[:, :, None]
        joined = ((extra > 0) & (t > extra + LOCAL)).unbind(1)
        always = torch.ones_like(joined[0])
        seen = torch.stack([(t >= 1) & always, *joined, (t >= 3) & always, (t >= 2) & always, always], dim=-1)
        bias = torch.where(seen, 0.0, HIDDEN).repeat_interleave(self.tokens, dim=-1)
        return bias[:, :, None, None, :]


def forcing_attention(
    q: Tensor, k: Tensor, v: Tensor, appended: Tensor, bias: Tensor, away: tuple[Tensor, Tensor]
) -> Tensor:
    """Block-masked attention over the layout: q, k, v [B, (2K-1) * tokens, heads, head_dim] -> the same shape.

    Plain matrix products over at most SLOTS chunks of keys for each chunk of queries. `away` turns the keys of appended
    chunks to where they stand: cosines and sines, [B, 1, 1, head_dim / 2].
    """
    chunks = bias.shape[1]
    tokens = bias.shape[-1] // SLOTS
    q, k, v = (x.unflatten(1, (2 * chunks - 1, tokens)).transpose(2, 3) for x in (q, k, v))
    keys, values = read_memory(k, appended, chunks, away), read_memory(v, appended, chunks)
    clean, noisy = slice(0, chunks - 1), slice(chunks - 1, None)
    out = [
        _attend(q[:, part], keys[:, :length], k[:, part], values[:, :length], v[:, part], bias[:, :length])
        for part, length in ((clean, chunks - 1), (noisy, chunks))
    ]
    return torch.cat(out, dim=1).transpose(2, 3).flatten(1, 2)


def read_memory(x: Tensor, appended: Tensor, chunks: int, away: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """[B, 2K-1, heads, tokens, hd] -> what each chunk may read, [B, K, heads, (SLOTS - 1) * tokens, hd]."""
    clean = x[:, : chunks - 1]
    sink = clean[:, :1].expand(-1, chunks, -1, -1, -1)
    extra = clean[torch.arange(len(appended), device=x.device)[:, None], appended].transpose(1, 2).flatten(2, 3)
    if away is not None:
        extra = rotate(extra.transpose(1, 2), *away).transpose(1, 2)
    extra = extra[:, None].expand(-1, chunks, -1, -1, -1)
    before = F.pad(clean, (0, 0, 0, 0, 0, 0, 1, 0))
    earlier = F.pad(clean[:, :-1], (0, 0, 0, 0, 0, 0, 2, 0))
    return torch.cat([sink, extra, earlier, before], dim=3)


def _attend(q: Tensor, past_k: Tensor, own_k: Tensor, past_v: Tensor, own_v: Tensor, bias: Tensor) -> Tensor:
    keys, values = torch.cat([past_k, own_k], dim=3), torch.cat([past_v, own_v], dim=3)
    scores = (q * q.shape[-1] ** -0.5) @ keys.transpose(-1, -2) + bias.to(q.dtype)
    return scores.softmax(-1) @ values


def forcing_positions(chunks: int, gap: Tensor) -> Tensor:
    """Time positions of the layout's frames, [B, (2K-1) * 3]; `gap` [B] moves every chunk but the sink further away."""
    frames = torch.arange(chunks * CHUNK, device=gap.device)[None] + gap[:, None] * (
        torch.arange(chunks * CHUNK, device=gap.device) >= CHUNK
    )
    return torch.cat([frames[:, :-CHUNK], frames], dim=1)


def forcing_pass(
    model: WanModel,
    text: TextContext,
    clean: Tensor,
    noisy: Tensor,
    timesteps: Tensor,
    gap: Tensor,
    appended: Tensor,
) -> Tensor:
    """One pass over a batch of whole clips.

    Args:
        clean: history [B, K*3, C, h, w]; its last chunk is not read.
        noisy: [B, K*3, C, h, w].
        timesteps: of the noisy frames, [B, K*3] in 0..1000; the clean ones are at 0.
        text: of one text a clip, or of one for each chunk of a clip, [B * K].
        gap: [B] extra distance of the sink, latent frames; what is appended to it is half as far away.
        appended: [B, APPENDED], see Layout.

    Returns:
        Flow of the noisy frames [B, K*3, C, h, w].
    """
    chunks = noisy.shape[1] // CHUNK
    rows, columns = model.config.grid(*noisy.shape[-2:])
    layout = Layout(chunks, appended, CHUNK * rows * columns)
    bias = layout.bias()
    history = clean[:, :-CHUNK]
    times = torch.cat([torch.zeros_like(timesteps[:, :-CHUNK]), timesteps], dim=1)

    angles = shift_angles(-(gap // 2)[:, None], model.config.head_dim).float()
    away = angles.cos(), angles.sin()
    if len(text[0][0]) > len(noisy):
        order = [*range(chunks - 1), *range(chunks)]
        text = [(_laid_out(k, chunks, order), _laid_out(v, chunks, order)) for k, v in text]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        return forcing_attention(q, k, v, appended, bias, away)

    flow = model(torch.cat([history, noisy], dim=1), times, text, forcing_positions(chunks, gap), attend)
    return flow[:, history.shape[1] :]


def _laid_out(x: Tensor, chunks: int, order: list[int]) -> Tensor:
    """[B * K, ...] -> [B * len(order), ...]: what each chunk of the layout has."""
    return x.unflatten(0, (-1, chunks))[:, order].flatten(0, 1)
