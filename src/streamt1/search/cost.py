"""What a search costs: counted, not estimated."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Work and wall-clock seconds.

    Attributes:
        model_passes: one chunk of one candidate through the transformer, once.
        switch_passes: those of them that new prompts took.
        latents_decoded: latent frames turned into pixels.
        latents_drafted: those decoded by a draft decoder.
        reward_calls: one clip or chunk scored by one reward.
        seconds: by kind (``text``, ``model``, ``switch``, ``decode``, ``preview``, ``reward``), and in ``total``.
    """

    model_passes: int = 0
    latents_decoded: int = 0
    latents_drafted: int = 0
    reward_calls: int = 0
    switch_passes: int = 0
    seconds: Mapping[str, float] = field(default_factory=lambda: {"total": 0.0})

    def __getitem__(self, name: str) -> Any:
        """``cost["model_passes"]``, as before 0.2.0. Raises ``KeyError``."""
        if name not in COUNTS and name != "seconds":
            raise KeyError(name)
        return getattr(self, name)

    def record(self) -> dict[str, Any]:
        """As JSON can hold it, seconds rounded to tenths of a millisecond."""
        return {**asdict(self), "seconds": {kind: round(spent, 4) for kind, spent in self.seconds.items()}}


COUNTS = tuple(one.name for one in fields(Cost) if one.name != "seconds")


class CostMeter:
    """Counts work and wall-clock seconds by kind, on top of what has been spent. Mutated while a search runs.

    Args:
        before: spent so far.
    """

    def __init__(self, before: Cost = Cost()) -> None:
        self._begin = time.perf_counter() - before.seconds["total"]
        self._within = 0.0
        self._counts = Counter({name: getattr(before, name) for name in COUNTS})
        self._seconds = Counter({kind: spent for kind, spent in before.seconds.items() if kind != "total"})

    @contextmanager
    def spend(self, kind: str, **counts: int) -> Iterator[None]:
        """Times a block under ``kind``, but for the blocks within it, and adds its counts."""
        begin, around, self._within = time.perf_counter(), self._within, 0.0
        yield
        spent = time.perf_counter() - begin
        self._seconds[kind] += spent - self._within  # pyright: ignore[reportArgumentType]
        self._within = around + spent
        self._counts.update(counts)

    def count(self, **counts: int) -> None:
        """Adds counts that are known afterwards."""
        self._counts.update(counts)

    @property
    def total(self) -> Cost:
        """All that has been spent up to now."""
        seconds = {**dict(sorted(self._seconds.items())), "total": time.perf_counter() - self._begin}
        return Cost(**self._counts, seconds=seconds)
