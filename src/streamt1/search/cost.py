"""What a search costs: counted, not estimated."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class CostMeter:
    """Counts work and wall-clock seconds by kind. Mutated while a search runs."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._within = 0.0
        self._counts: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def spend(self, kind: str, **counts: int) -> Iterator[None]:
        """Times a block under ``kind``, but for the blocks within it, and adds its counts."""
        begin, around, self._within = time.perf_counter(), self._within, 0.0
        yield
        spent = time.perf_counter() - begin
        self._seconds[kind] += spent - self._within
        self._within = around + spent
        self._counts.update(counts)

    def count(self, **counts: int) -> None:
        """Adds counts of work whose time is taken elsewhere."""
        self._counts.update(counts)

    def summary(self) -> dict[str, Any]:
        """``model_passes`` (one chunk of one candidate through the transformer), ``latents_decoded`` (latent frames),
        ``latents_drafted`` (those decoded by a draft codec), ``reward_calls`` (one clip or chunk judged), and
        ``seconds`` of each kind and in ``total``."""
        names = ("model_passes", "latents_decoded", "latents_drafted", "reward_calls")
        seconds = {kind: round(spent, 4) for kind, spent in sorted(self._seconds.items())}
        seconds["total"] = round(time.perf_counter() - self._begin, 4)
        return {**{name: self._counts[name] for name in names}, "seconds": seconds}
