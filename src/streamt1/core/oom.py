"""Going on with smaller parts when the device runs out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class Halving:
    """Splits work over a batch into parts that fit; remembers what did not, for the next call. Mutable.

    Args:
        limit: largest part to begin with; None means everything at once.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit

    def run(self, work: Callable[[int, int], T], count: int) -> list[T]:
        """``work(begin, end)`` for parts of ``0..count``, in order. Work must be safe to repeat.

        Raises ``torch.OutOfMemoryError`` when even one item does not fit.
        """
        results: list[T] = []
        begin = 0
        while begin < count:
            end = min(count, begin + (self.limit or count))
            try:
                results.append(work(begin, end))
            except torch.OutOfMemoryError:
                if end - begin == 1:
                    raise
                self.limit = (end - begin) // 2
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            begin = end
        return results
