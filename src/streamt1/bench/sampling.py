"""One sample of a backbone, chunk by chunk, without a search; and what the oracle reads of such clips."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.core.frames import floats
from streamt1.core.protocols import Models, draws_after, steps_after
from streamt1.core.types import Route
from streamt1.pocket.oracle import measure
from streamt1.pocket.scenes import Scene

CHUNKS = 7
"""Of a clip of 5 s."""


def wan_backbone(models: Models) -> WanBackbone:
    """The transformer of pocket or Wan."""
    backbone = models.backbone
    assert isinstance(backbone, WanBackbone)
    return backbone


def after(backbone: WanBackbone, branch: WanBranch, latents: Tensor, route: Route = Route.EMA) -> WanBranch:
    """The branch after one more chunk; the one before is given back."""
    child = backbone.commit(branch, latents, route)
    backbone.release(branch)
    return child


def sampled(
    backbone: WanBackbone, prompt: str, chunks: int, seed: int = 0
) -> Iterator[tuple[WanBranch, Tensor, Tensor]]:
    """Of each chunk the branch before it, its clean latents ``[F, C, H, W]``, and its noise ``[1, F, C, H, W]``."""
    draw, branch = torch.Generator().manual_seed(seed), backbone.start(prompt)
    for _ in range(chunks):
        noise = torch.randn(1, 1 + draws_after(backbone, branch), *backbone.chunk_shape, generator=draw)
        _, clean = backbone.denoise([branch], noise[:, 0], noise[:, 1:], range(steps_after(backbone, branch)))
        yield branch, clean[0], noise[:, 0]
        branch = after(backbone, branch, clean[0])
    backbone.release(branch)


def readings(models: Models, scenes: Sequence[Scene], chunks: int = CHUNKS) -> list[float]:
    """What the oracle reads of a sample of each scene: the mean over frames and readings, 0..1."""
    found = []
    for scene in scenes:
        states, frames = [models.decoder.start()], []
        for _, latents, _ in sampled(wan_backbone(models), scene.prompt, chunks):
            shown, states = models.decoder.decode(states, latents[None])
            frames.append(floats(shown)[0])
        found.append(float(measure(torch.cat(frames).numpy(), scene).mean))
    return found


def beside(found: Sequence[float], plain: Sequence[float]) -> dict[str, Any]:
    """Mean, its share of the plain mean, and the mean difference with half its 95% interval."""
    differences = [one - other for one, other in zip(found, plain, strict=True)]
    half = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
    return {
        "oracle": statistics.mean(found), "kept": statistics.mean(found) / statistics.mean(plain),
        "difference": statistics.mean(differences), "half_interval": half,
    }  # fmt: skip
