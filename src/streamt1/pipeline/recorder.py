"""Keeps what a run leaves behind besides its video: every event with its time, and a picture of every candidate."""

from __future__ import annotations

from time import perf_counter

from torch import Tensor

from streamt1.media.thumbnails import middle_thumbnail
from streamt1.search.watcher import Watcher
from streamt1.trace.events import Event
from streamt1.trace.store import Stamped


class Recorder(Watcher):
    """Watches one run.

    Attributes:
        stamped: the events so far.
        thumbnails: a small WebP picture of every candidate, by its id; of the frames nothing else is kept.
    """

    def __init__(self) -> None:
        self._begin = perf_counter()
        self.stamped: list[Stamped] = []
        self.thumbnails: dict[int, bytes] = {}

    def happened(self, event: Event) -> None:
        self.stamped.append(Stamped(round(perf_counter() - self._begin, 4), event))

    def proposed(self, candidate: int, frames: Tensor) -> None:
        self.thumbnails[candidate] = middle_thumbnail(frames)
