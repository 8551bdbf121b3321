"""A service over the Gaussian toy: real searches, real files, no weights; a gate holds them where a test wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.gaussian import TargetClipReward, TargetFrameReward
from streamt1.config.schema import load_config
from streamt1.core.protocols import Thin
from streamt1.pipeline.pipeline import Pipeline
from streamt1.search.expand import World
from streamt1.server.limits import Limits
from streamt1.server.models import Studio
from streamt1.server.service import Service
from tests.report.traces import RememberingGaussian

SIDE = 16
SECONDS = 0.25
"""Four chunks: the toy makes one frame a chunk, 16 a second."""


class FlatCodec:
    """A latent frame of three numbers is one frame of that colour."""

    fps = 16
    time_stride = 1

    def start(self) -> None:
        return None

    def decode(self, states: Sequence[None], latents: Tensor) -> tuple[Tensor, list[None]]:
        frames = latents.sigmoid().expand(-1, -1, 3, SIDE, SIDE)
        return frames, [None] * len(latents)


class Gated(RememberingGaussian):
    """Proposes when it is let; ``branches`` counts what has not been released.

    Args:
        wait: called before every proposal.
    """

    def __init__(self, wait: Callable[[], object]) -> None:
        super().__init__()
        self.wait = wait

    def propose(
        self, parents: Sequence[Any], noise: Tensor, generators: Sequence[torch.Generator], thin: Thin | None = None
    ) -> Tensor:
        self.wait()
        return super().propose(parents, noise, generators, thin)


class Gate:
    """Lets everything through while it is open; ``first`` is called before anything else."""

    def __init__(self) -> None:
        self.first: Callable[[], object] = lambda: None
        self._open = threading.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def __call__(self) -> None:
        self.first()
        assert self._open.wait(60), "the gate was never opened"


def toy_studio(wait: Callable[[], object], names: Sequence[str] = ("pocket",)) -> Studio:
    """The toy under the names of presets; prompts are checked as those presets do."""
    world = World(Gated(wait), FlatCodec(), TargetFrameReward(), TargetClipReward())
    return Studio("toy", {name: Pipeline(load_config(name), world) for name in names})


def toy_service(
    data: Path, wait: Callable[[], object], limits: Limits = Limits(), key: str | None = None, workers: int = 1
) -> Service:
    return Service.over([toy_studio(wait, ("pocket", "paper")) for _ in range(workers)], data, limits, key)


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Waits for something, and returns it."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return value
