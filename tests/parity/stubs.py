"""The stub decoder and rewards that a golden set was made with, read from its manifest (``stubs``).

Every form has its numbers in the manifest; means are taken in float64, as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamt1.core.types import RewardOutput

Stub = Mapping[str, Any]


@dataclass(frozen=True)
class StubDecoder:
    """``0.5 * clamp(M z, -1, 1) + 0.5``, one frame a latent frame; ``M[r, c] = matrix_scale * cos(1 + 16 r + c)``."""

    channels: int
    matrix_scale: float
    fps: int = 16
    time_stride: int = 1

    def start(self) -> None:
        return None

    def decode(self, states: Sequence[None], latents: Tensor) -> tuple[Tensor, list[None]]:
        row, column = torch.meshgrid(torch.arange(3.0), torch.arange(float(self.channels)), indexing="ij")
        matrix = self.matrix_scale * torch.cos(1 + 16 * row + column)
        return 0.5 * torch.einsum("rc,nfchw->nfrhw", matrix, latents).clamp(-1, 1) + 0.5, [None] * len(latents)


def _wave_of_frames(stub: Stub, frames: Tensor) -> Tensor:
    return (stub["gain"] * torch.sin(stub["rate"] * frames.mean((2, 3, 4)))).mean(1)


def _wave_of_edges(stub: Stub, frames: Tensor) -> Tensor:
    edges = frames.diff(dim=4).abs().mean((2, 3, 4))
    return (stub["gain"] * torch.sin(stub["rate"] * edges)).mean(1)


def _wave_of_clip(stub: Stub, clips: Tensor) -> Tensor:
    return stub["gain"] * torch.cos(stub["rate"] * clips.mean((1, 2, 3, 4)))


def _wave_less_motion(stub: Stub, clips: Tensor) -> Tensor:
    moved = clips.diff(dim=1).abs().mean((1, 2, 3, 4)) if clips.shape[1] > 1 else clips.new_zeros(len(clips))
    return stub["gain"] * torch.sin(stub["rate"] * clips.mean((1, 2, 3, 4))) - stub["penalty"] * moved


FORMS: dict[str, Callable[[Stub, Tensor], Tensor]] = {
    "mean_over_frames(gain*sin(rate*mean(frame)))": _wave_of_frames,
    "mean_over_frames(gain*sin(rate*mean(abs(difference along width))))": _wave_of_edges,
    "gain*cos(rate*mean(clip))": _wave_of_clip,
    "gain*sin(rate*mean(clip)) - penalty*mean(abs(difference along time))": _wave_less_motion,
}


@dataclass(frozen=True)
class StubReward:
    """A reward of one of the forms; satisfies ``FrameReward`` and ``ClipReward``."""

    stub: Stub

    def score(self, frames: Tensor, *rate_and_text: object) -> RewardOutput:
        return RewardOutput(FORMS[self.stub["form"]](self.stub, frames.double()))
