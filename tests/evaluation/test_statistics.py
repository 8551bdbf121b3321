import math

import numpy as np
import pytest

from streamt1.evaluation.statistics import interval, spearman


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        found = interval(rng.normal(1.0, 2.0, 40).tolist(), seed=trial)
        covered += found["low"] <= 1.0 <= found["high"]
    assert 0.89 <= covered / 200 <= 0.98


def test_an_interval_of_equal_values_is_a_point() -> None:
    assert interval([0.5] * 7) == {"mean": 0.5, "low": 0.5, "high": 0.5, "n": 7}
    with pytest.raises(ValueError, match="at least one"):
        interval([])


def test_spearman() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 25, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486832980505138)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
