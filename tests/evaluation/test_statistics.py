import math

import numpy as np
import pytest

from streamt1.evaluation.statistics import interval, spearman, turned


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


def test_the_order_of_values_says_nothing_and_ends_of_wide_intervals_do_not_wander() -> None:
    values = np.random.default_rng(3).standard_t(3, 48)
    for level in (0.95, 0.996):
        found = interval(values.tolist(), level=level)
        assert interval(values[::-1].tolist(), level=level) == found
        ends = [interval(values.tolist(), seed=seed, level=level) for seed in range(12)]
        width = found["high"] - found["low"]
        assert max(np.ptp([one[end] for one in ends]) for end in ("low", "high")) < 0.1 * width


def test_the_other_way_round() -> None:
    found = {"mean": 1.0, "low": -0.5, "high": 2.0, "n": 4, "win_rate": 0.75, "tie_rate": 0.25}
    assert turned(found) == {"mean": -1.0, "low": -2.0, "high": 0.5, "n": 4, "win_rate": 0.25, "tie_rate": 0.25}


def test_spearman() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 25, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486832980505138)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
