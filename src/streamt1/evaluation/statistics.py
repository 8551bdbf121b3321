"""Means with intervals, and rank correlation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BEYOND = 250
"""So many resampled means are wanted beyond each end of an interval: a wide one takes more resamples than a narrow one.
"""
BATCH = 10_000


def interval(values: Sequence[float], seed: int = 0, level: float = 0.95) -> dict[str, Any]:
    """Mean and bootstrap interval (percentiles over resampled values): keys ``mean``, ``low``, ``high``, ``n``.

    The order of the values does not matter.
    Give differences of paired values for a paired interval. Of a single value it has no width and says nothing, see
    ``told_apart``. Raises ``ValueError`` for no values.
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    data = np.sort(np.asarray(values, dtype=np.float64))
    low, high = np.quantile(_resampled(data, np.random.default_rng(seed), level), [(1 - level) / 2, (1 + level) / 2])
    return {"mean": float(data.mean()), "low": float(low), "high": float(high), "n": len(data)}


def difference_interval(
    values: Sequence[float], others: Sequence[float], seed: int = 0, level: float = 0.95
) -> dict[str, Any]:
    """The mean of some values less that of others that are not paired with them, with its bootstrap interval.

    Keys as of ``interval``; ``n`` counts both, ``prompts`` the smaller. Raises ``ValueError`` where either has none.
    """
    if not len(values) or not len(others):
        raise ValueError("an interval needs at least one value of each")
    draw, (data, other) = (
        np.random.default_rng(seed),
        (np.sort(np.asarray(x, dtype=np.float64)) for x in (values, others)),
    )
    less = _resampled(data, draw, level) - _resampled(other, draw, level)
    low, high = np.quantile(less, [(1 - level) / 2, (1 + level) / 2])
    mean = float(data.mean() - other.mean())
    prompts = min(len(data), len(other))
    return {"mean": mean, "low": float(low), "high": float(high), "n": len(data) + len(other), "prompts": prompts}


def is_lone(found: Mapping[str, Any]) -> bool:
    """Whether an interval comes from one prompt and has no width; ``prompts`` is told where ``n`` counts more."""
    return found.get("prompts", found["n"]) < 2


def turned(found: Mapping[str, Any]) -> dict[str, Any]:
    """The interval of the same difference the other way round, and its win rate where it has one."""
    wins = {"win_rate": 1 - found["win_rate"]} if "win_rate" in found else {}
    return {**found, "mean": 0 - found["mean"], "low": 0 - found["high"], "high": 0 - found["low"], **wins}


def told_apart(found: Mapping[str, Any]) -> int:
    """Of an interval: 1 where it lies above 0, -1 below, 0 where it has 0 in it, or comes from one prompt."""
    if is_lone(found):
        return 0
    return (found["low"] > 0) - (found["high"] < 0)


def _resampled(data: np.ndarray, draw: np.random.Generator, level: float) -> np.ndarray:
    """Means of samples with replacement, as large as the data; as many as an interval of this level takes."""
    count = math.ceil(2 * BEYOND / (1 - level))
    sizes = (min(BATCH, count - begin) for begin in range(0, count, BATCH))
    return np.concatenate([data[draw.integers(0, len(data), (size, len(data)))].mean(1) for size in sizes])


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation in -1..1, ties at their mean rank; NaN where one side is constant."""
    x, y = (_ranks(np.asarray(values, dtype=np.float64)) for values in (a, b))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
