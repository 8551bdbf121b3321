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
    """A batch of prompts that are generated side by side: the sink and the last chunks are what the next may read."""

    def __init__(self, pocket: Pocket, tokens: Tensor, schedule: Schedule | None = None) -> None:
        self.model: WanModel = pocket.dit
        self.schedule = schedule or Schedule()
        self.device = self.model.patch_embedding.weight.device
        self.text = pocket.text(tokens.to(self.device))
        self.pages: list[Page] = []
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
        self.pages = [*self.pages[:1], *self.pages[1:][-LOCAL + 1 :], page]
        self.chunks += 1

    def _flow(self, copies: int, page: Page | None) -> Callable[[Tensor, Tensor], Tensor]:
        place = torch.arange(self.chunks * CHUNK, (self.chunks + 1) * CHUNK, device=self.device)
        text = self.model.embed_text(self.text.repeat_interleave(copies, dim=0))
        seen = [[tuple(x.repeat_interleave(copies, dim=0) for x in layer) for layer in old] for old in self.pages]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if page is not None:
                page.append((k, v))
            keys = torch.cat([old[layer][0] for old in seen] + [k], dim=1)
            values = torch.cat([old[layer][1] for old in seen] + [v], dim=1)
            q, keys, values = (x.transpose(1, 2) for x in (q, keys, values))
            return F.scaled_dot_product_attention(q, keys, values).transpose(1, 2)

        def flow(x: Tensor, time: Tensor) -> Tensor:
            return self.model(x, time.to(self.device).expand(len(x), CHUNK), text, place, attend).float()

        return flow


def rollout(
    pocket: Pocket, tokens: Tensor, chunks: int, generators: list[torch.Generator], schedule: Schedule | None = None
) -> Tensor:
    """Latents of whole clips, [B, chunks * 3, C, 8, 8], chunk by chunk. tokens [B, L], one generator a clip."""
    made, clip = Rollout(pocket, tokens, schedule), []
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
