"""Archive: where settled chunks go, so that the state of a search holds no more than the next chunk needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from streamt1.core.types import Chunk


class Archive(Protocol):
    """Keeps the settled chunks of one run, first to last."""

    def keep(self, chunk: Chunk, shown: Tensor) -> None:
        """A chunk has settled; ``shown [T, 3, H, W]`` are its frames as people see them.

        One that is there already, and all after it, are replaced: a step that failed may be tried again.
        """
        ...

    def chunks(self) -> Sequence[Chunk]:
        """All that is kept."""
        ...

    def shown(self) -> Tensor:
        """The video as people see it, ``[T, 3, H, W]``."""
        ...


class InMemory:
    """Satisfies ``Archive``; the default."""

    def __init__(self) -> None:
        self._kept: list[tuple[Chunk, Tensor]] = []

    def keep(self, chunk: Chunk, shown: Tensor) -> None:
        """See ``Archive.keep``."""
        self._kept[chunk.index :] = [(chunk.near(), shown)]

    def chunks(self) -> Sequence[Chunk]:
        """See ``Archive.chunks``."""
        return [chunk for chunk, _ in self._kept]

    def shown(self) -> Tensor:
        """See ``Archive.shown``; a copy."""
        return torch.cat([frames for _, frames in self._kept])


class Nowhere:
    """Satisfies ``Archive`` and keeps nothing: for videos without an end, which are read as they settle."""

    def keep(self, chunk: Chunk, shown: Tensor) -> None:
        """See ``Archive.keep``."""

    def chunks(self) -> Sequence[Chunk]:
        """None."""
        return []

    def shown(self) -> Tensor:
        """No frames."""
        return torch.empty(0, 3, 0, 0)
