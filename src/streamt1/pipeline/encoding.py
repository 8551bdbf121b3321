"""Encodes a run's video beside its search, in a thread of its own."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from streamt1.core.errors import OutputError
from streamt1.media.growing import GrowingVideo
from streamt1.media.pixels import shown

AHEAD = 4
"""Chunks that may wait for the encoder."""


class Encoding:
    """Final chunks on their way into a video.

    A chunk that settles within a step is final once the step is: it waits for ``confirm``.

    Args:
        video: where they go; those that it has are not added again.

    Raises:
        OutputError: what the encoder raises, at the next call of any method but ``close``.
    """

    def __init__(self, video: GrowingVideo) -> None:
        self.video = video
        self._had, self._waiting = video.chunks, list[tuple[int, Tensor]]()
        self._thread, self._jobs = ThreadPoolExecutor(1, "video"), list[Future[None]]()

    def settled(self, chunk: int, frames: Tensor) -> None:
        """A chunk's index, and its frames ``[T, 3, H, W]``."""
        if chunk >= self._had:
            self._waiting.append((chunk, frames))

    def drop(self) -> None:
        """What waits is not final after all."""
        self._waiting.clear()

    def confirm(self) -> None:
        """What waits is final, and is encoded; returns when few enough chunks are left to do."""
        while self._waiting:
            self.wait(AHEAD)
            chunk, frames = self._waiting.pop(0)
            self._had = chunk + 1
            self._jobs.append(self._thread.submit(self._add, frames))

    def wait(self, most: int = 0) -> None:
        """Until at most so many chunks are left to do."""
        while self._jobs and (len(self._jobs) > most or self._jobs[0].done()):
            self._jobs.pop(0).result()

    def close(self) -> None:
        """Does what was confirmed, and closes the video; what fails here has failed before, or is of no use."""
        self._thread.shutdown(wait=True)
        try:
            self.video.close()
        except OutputError:
            return

    def _add(self, frames: Tensor) -> None:
        self.video.add(shown(frames))
