"""What may be seen of a search besides its events. Looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from streamt1.core.protocols import Branch
from streamt1.core.types import Remembered


@dataclass(frozen=True)
class Observer:
    """Windows into a search; the default sees nothing.

    Attributes:
        look: gets each candidate's id and decoded frames ``[T, 3, H, W]`` in 0..1, once, when it has been proposed. It
            must not keep the frames: the search frees those of pruned candidates.
        settled: gets a chunk's index and frames ``[T, 3, H, W]`` in 0..1 when whatever wins will contain it, in order.
        recall: tells what a branch remembers, None where that is not known.
    """

    look: Callable[[int, Tensor], None] = lambda candidate, frames: None
    recall: Callable[[Branch], Remembered | None] = lambda branch: None
    settled: Callable[[int, Tensor], None] = lambda chunk, frames: None
