"""The causal Wan transformer. Read it top-down: ``WanModel.forward`` is the diagram (SPEC section 2).

Memory enters through one callable: ``attend(layer, q, k, v)`` gets a layer's rotated queries and keys and its values,
``[B, L, heads, head_dim]``, and returns what the queries read. The model knows nothing of windows, sinks or branches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from streamt1.backbones.wan.attention import attention
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.elementwise import add_gated, layer_norm, linear_gelu, modulated_norm, rms_norm
from streamt1.backbones.wan.rope import Rotary, grid_angles

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
TextContext = list[tuple[Tensor, Tensor]]
"""Per layer, the cross-attention keys and values of a prompt, each ``[B, text_len, heads, head_dim]``.

Of ``B * n`` texts, the frames of each row of the batch read ``n`` in turn, in equal parts.
"""


class RMSNorm(nn.Module):
    """Root-mean-square norm over the whole model width, in float32; the weight is applied after the cast back."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class LayerNorm(nn.LayerNorm):
    """Layer norm computed in float32, whatever the model's dtype."""

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.weight, self.bias, self.eps)

    def modulated(self, input: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """``[B, F, L, dim]``, of which each frame is scaled and shifted: ``[B, F, 1, dim]``, float32."""
        return modulated_norm(input, self.weight, self.bias, self.eps, shift, scale)


class FeedForward(nn.Sequential):
    """Projection, GELU, projection."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__(nn.Linear(config.dim, config.ffn_dim), nn.GELU("tanh"), nn.Linear(config.ffn_dim, config.dim))

    def forward(self, input: Tensor) -> Tensor:
        up, _, down = self
        return down(linear_gelu(input, cast(nn.Linear, up)))


class Attention(nn.Module):
    """Projections and query/key norms shared by self- and cross-attention."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim, config.eps), RMSNorm(dim, config.eps)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def query(self, x: Tensor) -> Tensor:
        return self.split(self.norm_q(self.q(x)))

    def key_value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.norm_k(self.k(x))), self.split(self.v(x))


class Block(nn.Module):
    """Self-attention over memory, cross-attention to the text, feed-forward; time modulates the first and the last."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        dim = config.dim
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        self.norm1 = LayerNorm(dim, config.eps, elementwise_affine=False)
        self.self_attn = Attention(config)
        self.norm3 = LayerNorm(dim, config.eps)
        self.cross_attn = Attention(config)
        self.norm2 = LayerNorm(dim, config.eps, elementwise_affine=False)
        self.ffn = FeedForward(config)

    def forward(self, x: Tensor, time: Tensor, text: tuple[Tensor, Tensor], rotary: Rotary, attend: Callable) -> Tensor:
        """``x [B, F, L, dim]`` tokens by latent frame; ``time [B, F, 6, dim]``, float32."""
        shift_a, scale_a, gate_a, *feed = (self.modulation + time).unsqueeze(3).unbind(2)
        q, k, v = self.before_memory(x, shift_a, scale_a, rotary)
        return self.after_memory(x, attend(q, k, v), gate_a, text, *feed)

    def before_memory(self, x: Tensor, shift: Tensor, scale: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of self-attention, ``[B, F*L, heads, head_dim]``, the first two rotated."""
        h, attn = self.norm1.modulated(x, shift, scale).flatten(1, 2), self.self_attn
        q, k = (
            rotary.of_normed(project(h), norm.weight, norm.eps, attn.heads)
            for project, norm in ((attn.q, attn.norm_q), (attn.k, attn.norm_k))
        )
        return q, k, attn.split(attn.v(h))

    def after_memory(
        self, x: Tensor, seen: Tensor, gate_a: Tensor, text: tuple[Tensor, Tensor], *feed: Tensor
    ) -> Tensor:
        """What the queries read is added, then the text, then the feed-forward; ``feed`` is its shift, scale, gate."""
        shift_f, scale_f, gate_f = feed
        x = add_gated(x, self.self_attn.o(seen.flatten(2)).view_as(x), gate_a)
        q = self.cross_attn.query(self.norm3(x).flatten(1, 2))
        q = q.reshape(max(len(q), len(text[0])), -1, *q.shape[2:])
        x = x + self.cross_attn.o(attention(q, *text).flatten(2).view_as(x))
        return add_gated(x, self.ffn(self.norm2.modulated(x, shift_f, scale_f)), gate_f)


class Head(nn.Module):
    """Modulated norm and projection to one patch of flow per token."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        dim, (pt, ph, pw) = config.dim, config.patch_size
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.norm = LayerNorm(dim, config.eps, elementwise_affine=False)
        self.head = nn.Linear(dim, pt * ph * pw * config.out_channels)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """``x [B, F, L, dim]``; ``e [B, F, dim]``, the time embedding before its projection."""
        shift, scale = (self.modulation + e[:, :, None]).unsqueeze(3).unbind(2)
        return self.head(self.norm.modulated(x, shift, scale))


class WanModel(nn.Module):
    """Predicts the flow ``v`` of noisy latent frames. Weight names are those of the Wan2.1 checkpoints."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        dim, patch = config.dim, config.patch_size
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, kernel_size=patch, stride=patch)
        self.text_embedding = nn.Sequential(nn.Linear(config.text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = Head(config)

    def compile_blocks(self) -> None:
        """Compiles every block around its self-attention, whose memory changes its shape from chunk to chunk.

        Whatever ``attend`` is, it stays as it is. The first passes take long: torch compiles as it meets shapes.
        """
        for block in self.blocks:
            for half in ("before_memory", "after_memory"):
                setattr(block, half, torch.compile(getattr(block, half)))

    def embed_text(self, text: Tensor) -> TextContext:
        """Cross-attention keys and values of text rows ``[B, text_len, text_dim]``: computed once per prompt."""
        context = self.text_embedding(text)
        return [cast(Block, block).cross_attn.key_value(context) for block in self.blocks]

    def rotary(self, positions: Tensor, grid: tuple[int, int]) -> Rotary:
        """The rotation of all tokens of frames at ``positions`` (see :meth:`forward`), of a grid of patches each."""
        return Rotary.of(grid_angles(positions, grid, self.config.head_dim))

    def forward(
        self, latents: Tensor, timesteps: Tensor, text: TextContext, positions: Tensor | Rotary, attend: Attend
    ) -> Tensor:
        """One pass.

        Args:
            latents: noisy latents ``[B, F, C, H, W]``.
            timesteps: ``[B, F]`` in 0..1000; every frame may have its own.
            text: from :meth:`embed_text`; batch 1 is shared by all of ``B``, see :data:`TextContext`.
            positions: global latent frame index of each frame, ``[F]`` or ``[B, F]``; or :meth:`rotary` of them.
            attend: what self-attention reads, see the module's docstring.

        Returns:
            Flow ``v = noise - x0``, ``[B, F, C, H, W]``.
        """
        grid = self.config.grid(*latents.shape[-2:])
        rotary = positions if isinstance(positions, Rotary) else self.rotary(positions, grid)
        x = self.patch_embedding(latents.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1).contiguous()
        e = self.time_embedding(_sinusoid(timesteps, self.config.freq_dim).to(x.dtype))
        time = self.time_projection(e).unflatten(-1, (6, -1)).float()
        for layer, block in enumerate(self.blocks):
            x = block(x, time, text[layer], rotary, lambda q, k, v, i=layer: attend(i, q, k, v))
        return self._unpatch(self.head(x, e.float()), grid)

    def _unpatch(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """``[B, F, rows*columns, ph*pw*C]`` (row, column, channel) -> ``[B, F, C, H, W]``."""
        (rows, columns), (_, ph, pw) = grid, self.config.patch_size
        b, f = x.shape[:2]
        return (
            x.view(b, f, rows, columns, ph, pw, -1)
            .permute(0, 1, 6, 2, 4, 3, 5)
            .reshape(b, f, -1, rows * ph, columns * pw)
        )


def _sinusoid(timesteps: Tensor, size: int) -> Tensor:
    """``[..., size]``: cosines, then sines, of t times ``10000 ** (-i / (size/2))``, computed in float64."""
    half = size // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=timesteps.device) / half)
    angle = timesteps.to(torch.float64)[..., None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
