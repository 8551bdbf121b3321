"""A video that is read while it is made."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType

from torch import Tensor

from streamt1.core.errors import Cancelled
from streamt1.core.frames import floats
from streamt1.pipeline.run import Run
from streamt1.search.watcher import Watcher


@dataclass(frozen=True, eq=False)
class FinalChunk:
    """A chunk that no later choice can change.

    Attributes:
        index: its place in the video, counted in chunks.
        pixels: ``[T, 3, H, W]`` as the decoder made them, uint8 in 0..255 or floats in 0..1; the reader's own, to
            change as it likes.
    """

    index: int
    pixels: Tensor

    @property
    def frames(self) -> Tensor:
        """``[T, 3, H, W]``, floats in 0..1; made anew of ``pixels`` in bytes."""
        return floats(self.pixels)


class Left(Watcher):
    """Holds the chunks that have settled until they are given away."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Tensor]] = []

    def settled(self, chunk: int, frames: Tensor) -> None:
        self._waiting.append((chunk, frames))

    def drop(self) -> None:
        """What waits is not final after all."""
        self._waiting.clear()

    def chunks(self) -> Iterator[FinalChunk]:
        """Those that wait, which are the reader's from now on."""
        while self._waiting:
            index, frames = self._waiting.pop(0)
            yield FinalChunk(index, frames.clone())


class Stream:
    """The final chunks of one video; iterate over it. The search goes on only while it is read.

    As a context manager it ends the search, and gives its memory back, when the block ends before the video does.
    """

    def __init__(self, parts: Iterator[FinalChunk | Run]) -> None:
        self._parts = parts
        self._run: Run | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> FinalChunk:
        part = next(self._parts)
        while isinstance(part, Run):
            self._run = part
            part = next(self._parts)
        return part

    def finish(self) -> Run:
        """The run, once the rest of the video has been made. Raises ``Cancelled`` for one that ended early."""
        for _ in self:
            pass
        if self._run is None:
            raise Cancelled("the stream ended before its video was whole")
        return self._run

    def close(self) -> None:
        """Ends the search where it is."""
        if isinstance(self._parts, Generator):
            self._parts.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
