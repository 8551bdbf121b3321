"""What a run shows besides its events: a thumbnail of every candidate, and what memory held."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from streamt1.codec.pixels import thumbnail
from streamt1.core.types import Remembered
from streamt1.memory import Branch


class Thumbnails:
    """Takes the picture in the middle of each candidate's chunk; of the frames nothing is kept. Use as ``look``.

    Args:
        pictured: is given each candidate's id and picture (WebP) as soon as it is taken.
    """

    def __init__(self, pictured: Callable[[int, bytes], None] = lambda candidate, picture: None) -> None:
        self.pictures: dict[int, bytes] = {}
        self._pictured = pictured

    def __call__(self, candidate: int, frames: Tensor) -> None:
        self.pictures[candidate] = thumbnail(frames[len(frames) // 2])
        self._pictured(candidate, self.pictures[candidate])


def recall(branch: object, frames_per_chunk: int) -> Remembered | None:
    """What a backbone's branch remembers, None where it keeps no ``memory.Branch``."""
    memory = getattr(branch, "memory", None)
    if not isinstance(memory, Branch):
        return None
    sinks, window = (tuple(page.start // frames_per_chunk for page in part) for part in (memory.sinks, memory.window))
    gone = memory.eviction
    if gone is None:
        return Remembered(sinks, window)
    return Remembered(sinks, window, gone.start // frames_per_chunk, gone.route, gone.outcome, gone.slot)
