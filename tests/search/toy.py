"""The Gaussian toy as the models of a search, and a watcher that keeps what it is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder, TargetClipReward, TargetFrameReward
from streamt1.core.protocols import Models
from streamt1.pipeline.recorder import Recorder
from streamt1.search.watcher import Watcher
from streamt1.trace.events import Event


def toy(
    backbone: Any = None, decoder: Any = None, frame_reward: Any = None, clip_reward: Any = None, draft: Any = None
) -> Models:
    """The toy's models, but for those that are given."""
    return Models(
        backbone or GaussianBackbone(),
        decoder or IdentityDecoder(),
        frame_reward or TargetFrameReward(),
        clip_reward or TargetClipReward(),
        draft,
    )


class Seen(Watcher):
    """Keeps events, candidates (id and shape of their frames) and settled chunks."""

    def __init__(self, then: Callable[[Event], None] = lambda event: None) -> None:
        self.events: list[Event] = []
        self.candidates: list[tuple[int, tuple[int, ...]]] = []
        self.chunks: list[tuple[int, Tensor]] = []
        self._then = then

    def happened(self, event: Event) -> None:
        self.events.append(event)
        self._then(event)

    def proposed(self, candidate: int, frames: Tensor) -> None:
        self.candidates.append((candidate, tuple(frames.shape)))

    def settled(self, chunk: int, frames: Tensor) -> None:
        self.chunks.append((chunk, frames))


class EventRecorder(Recorder):
    """Takes no pictures: the toy's frames of one pixel are none."""

    def proposed(self, candidate: int, frames: Tensor) -> None:
        pass
