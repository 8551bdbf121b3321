"""Means with intervals, and rank correlation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 4000


def interval(values: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Mean and 95% bootstrap interval (percentiles over resampled values): keys ``mean``, ``low``, ``high``, ``n``.

    Give differences of paired values for a paired interval. Raises ``ValueError`` for no values.
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(data), (RESAMPLES, len(data)))
    low, high = np.quantile(data[draws].mean(1), [0.025, 0.975])
    return {"mean": float(data.mean()), "low": float(low), "high": float(high), "n": len(data)}


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
