"""Streaming rollouts of many prompts at once, for training (search uses the branching memory instead)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from streamt1.backbones.pocket.weights import load_pocket
from streamt1.backbones.sampling import Schedule, few_step
from streamt1.backbones.wan.model import WanModel
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.training.dit import Pocket
from streamt1.training.forcing import CHUNK, LOCAL

Page = list[tuple[Tensor, Tensor]]
"""Keys and values of one clean chunk, by layer, each [B, tokens, heads, head_dim]."""


def bundled_pocket(name: str, device: str) -> Pocket:
    """A bundled transformer and its text encoder as one module."""
    model, text = load_pocket(name, device)
    pocket = Pocket(model.config)
    pocket.dit, pocket.text = model, text
    return pocket.to(device).eval()


class Rollout:
    """A batch of clips that are generated side by side: the sink and the last chunks are what the next may read.

    Args:
        tokens: of the prompt of each clip, [B, L], or of each chunk of a clip, [B, K, L].
        appended: chunks that join the sink when they leave the window, [B, APPENDED], 0 for none; nothing by default.
    """

    def __init__(
        self, pocket: Pocket, tokens: Tensor, schedule: Schedule | None = None, appended: Tensor | None = None
    ) -> None:
        self.model: WanModel = pocket.dit
        self.schedule = schedule or Schedule()
        self.device = self.model.patch_embedding.weight.device
        rows = tokens if tokens.ndim == 3 else tokens[:, None]
        self.texts = pocket.text(rows.to(self.device).flatten(0, 1)).unflatten(0, rows.shape[:2])
        self.appended = None if appended is None else appended.to(self.device)
        self.pages: dict[int, Page] = {}
        self.chunks = 0

    @torch.no_grad()
    def sample(self, generators: list[torch.Generator], copies: int = 1) -> Tensor:
        """Latents of the next chunk, [B * copies, 3, C, 8, 8]: `copies` candidates of each prompt, one after another.

        One generator a candidate draws the initial noise, then the noise between the sampler's steps.
        """
        shape = (1 + self.schedule.draws, CHUNK, self.model.config.in_channels, 8, 8)
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(self.device)
        flow = self._flow(copies, None)
        return few_step(flow, noise[:, 0], noise[:, 1:], self.schedule, range(len(self.schedule.steps)))[0]

    @torch.no_grad()
    def commit(self, latents: Tensor) -> None:
        """Takes [B, 3, C, 8, 8] as the next chunk: the context pass at time 0 writes its page."""
        page: Page = []
        self._flow(1, page)(latents, torch.zeros((), device=self.device))
        self.pages[self.chunks] = page
        self.chunks += 1
        if self.appended is None:
            self.pages = {chunk: old for chunk, old in self.pages.items() if not 0 < chunk < self.chunks - LOCAL}

    def _memory(self) -> tuple[list[Page], Tensor | None]:
        """The pages that the next chunk may read, and which of them each clip does, [B, pages]; None where all."""
        window = [chunk for chunk in self.pages if chunk == 0 or chunk >= self.chunks - LOCAL]
        pages = [self.pages[chunk] for chunk in window]
        if self.appended is None:
            return pages, None
        seen = [torch.ones(len(self.appended), dtype=torch.bool, device=self.device) for _ in pages]
        for extra in self.appended.unbind(1):
            joined = (extra > 0) & (extra < self.chunks - LOCAL)
            if joined.any():
                pages.append(self._gathered(torch.where(joined, extra, 0)))
                seen.append(joined)
        return pages, torch.stack(seen, dim=1) if seen else None

    def _gathered(self, chunks: Tensor) -> Page:
        """Of each clip the page of one of its chunks."""
        rows, old = torch.arange(len(chunks), device=self.device), list(self.pages.values())
        return [
            (torch.stack([k for k, _ in layer])[chunks, rows], torch.stack([v for _, v in layer])[chunks, rows])
            for layer in zip(*old, strict=True)
        ]

    def _flow(self, copies: int, page: Page | None) -> Callable[[Tensor, Tensor], Tensor]:
        place = torch.arange(self.chunks * CHUNK, (self.chunks + 1) * CHUNK, device=self.device)
        text = self.texts[:, min(self.chunks, self.texts.shape[1] - 1)]
        told = self.model.embed_text(text.repeat_interleave(copies, dim=0))
        pages, which = self._memory()
        seen = [[tuple(x.repeat_interleave(copies, dim=0) for x in layer) for layer in old] for old in pages]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if page is not None:
                page.append((k, v))
            keys = torch.cat([old[layer][0] for old in seen] + [k], dim=1)
            values = torch.cat([old[layer][1] for old in seen] + [v], dim=1)
            mask = None
            if which is not None:
                own = torch.ones_like(which[:, :1])
                mask = torch.cat([which, own], dim=1).repeat_interleave(k.shape[1], dim=1)
                mask = mask.repeat_interleave(copies, dim=0)[:, None, None]
            q, keys, values = (x.transpose(1, 2) for x in (q, keys, values))
            return F.scaled_dot_product_attention(q, keys, values, mask).transpose(1, 2)

        def flow(x: Tensor, time: Tensor) -> Tensor:
            return self.model(x, time.to(self.device).expand(len(x), CHUNK), told, place, attend).float()

        return flow


def rollout(
    pocket: Pocket,
    tokens: Tensor,
    chunks: int,
    generators: list[torch.Generator],
    schedule: Schedule | None = None,
    appended: Tensor | None = None,
) -> Tensor:
    """Latents of whole clips, [B, chunks * 3, C, 8, 8], chunk by chunk; see `Rollout`. One generator a clip."""
    made, clip = Rollout(pocket, tokens, schedule, appended), []
    for _ in range(chunks):
        clip.append(made.sample(generators))
        made.commit(clip[-1])
    return torch.cat(clip, dim=1)


def generators(seed: int, count: int) -> list[torch.Generator]:
    """One generator a clip, from a seed."""
    return [torch.Generator().manual_seed(seed * 100_003 + index) for index in range(count)]


@torch.no_grad()
def decode(decoder: PocketDecoder, latents: Tensor, batch: int = 8) -> Tensor:
    """Latents [B, F, C, 8, 8] -> frames [B, 1+4(F-1), 3, 64, 64] in [0, 1], a few clips at a time."""
    return torch.cat([decoder.decode([decoder.start()] * len(part), part)[0].cpu() for part in latents.split(batch)])
