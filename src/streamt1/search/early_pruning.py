"""Early pruning: candidates are judged by a preview of their chunk, and the worst are not denoised to their end.

The preview is the clean chunk that the model predicts after its first steps; it is decoded and scored as the chunk
itself will be. What is dropped saves its remaining steps; what goes on is scored again when it is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from streamt1.search.reward_pruning import prune

Scores = Callable[[Sequence[int], Tensor], Sequence[float]]
"""Rows of candidates, their predicted clean latents ``[rows, F, C, H, W]`` -> fused score of each."""


class EarlyPruning:
    """The ``Thin`` of one proposal; remembers what it kept in ``kept``, rows in rising order. Mutable.

    Args:
        score: of previews.
        after: denoising steps before the look.
        keep: share of the candidates that go on, above 0, at most 1; at least one does.
    """

    def __init__(self, score: Scores, after: int, keep: float) -> None:
        self._score, self._after, self._keep = score, after, keep
        self.kept: list[int] = []

    def __call__(self, done: int, rows: Sequence[int], previews: Tensor) -> Sequence[int]:
        """Rows that go on, in rising order: all of them before and after the step of the look."""
        if done != self._after:
            return rows
        best = prune(list(self._score(rows, previews)), max(1, math.ceil(self._keep * len(rows))))
        going = sorted(rows[index] for index in best)
        # a part that did not fit into memory comes again
        self.kept = sorted({*self.kept, *going} - (set(rows) - set(going)))
        return going
