"""A service over the Gaussian toy: real searches, real files, no weights; a gate holds them where a test wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from streamt1.backbones.gaussian import TargetClipReward, TargetFrameReward
from streamt1.config.load import load_config
from streamt1.core.protocols import Models
from streamt1.pipeline.pipeline import Pipeline
from streamt1.server.limits import Limits
from streamt1.server.models import LoadedPresets
from streamt1.server.service import Service
from tests.report.traces import RememberingGaussian

SIDE = 16
SECONDS = 0.25
"""Four chunks: the toy makes one frame a chunk, 16 a second."""


class FlatDecoder:
    """A latent frame of three numbers is one frame of that colour."""

    fps = 16
    time_stride = 1

    def start(self) -> None:
        return None

    def decode(self, states: Sequence[None], latents: Tensor) -> tuple[Tensor, list[None]]:
        frames = latents.sigmoid().expand(-1, -1, 3, SIDE, SIDE)
        return frames, [None] * len(latents)


class Gated(RememberingGaussian):
    """Denoises when it is let; ``live`` counts what has not been released.

    Args:
        wait: called before all denoising.
    """

    def __init__(self, wait: Callable[[], object]) -> None:
        super().__init__()
        self.wait = wait

    def denoise(self, parents: Sequence[Any], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        self.wait()
        return super().denoise(parents, x, noise, steps)


class Gate:
    """Lets everything through while it is open; ``first`` is called before anything else."""

    def __init__(self) -> None:
        self.first: Callable[[], object] = lambda: None
        self._open = threading.Event()
        self._open.set()
        self._held = threading.Event()

    @property
    def held(self) -> bool:
        """Whether something waits, or waited, since the gate was shut."""
        return self._held.is_set()

    @property
    def is_shut(self) -> bool:
        return not self._open.is_set()

    def shut(self) -> None:
        self._held.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def __call__(self) -> None:
        self.first()
        if not self._open.is_set():
            self._held.set()
        assert self._open.wait(60), "the gate was never opened"


def toy_presets(wait: Callable[[], object], names: Sequence[str] = ("pocket",)) -> LoadedPresets:
    """The toy under the names of presets; prompts are checked as those presets do."""
    models = Models(Gated(wait), FlatDecoder(), TargetFrameReward(), TargetClipReward())
    return LoadedPresets("toy", {name: Pipeline(load_config(name), models) for name in names})


def toy_service(
    data: Path, wait: Callable[[], object], limits: Limits = Limits(), key: str | None = None, workers: int = 1
) -> Service:
    return Service.over([toy_presets(wait, ("pocket", "paper")) for _ in range(workers)], data, limits, key)


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Waits for something, and returns it."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return value
