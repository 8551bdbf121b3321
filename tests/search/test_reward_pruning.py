import math

import pytest

from streamt1.core.errors import RewardError
from streamt1.search.reward_pruning import fuse, fusion_weight, prune, random_pick


def test_fusion_weight_rises_with_the_video_up_to_its_cap() -> None:
    """min(start / (N - n), c): 40 chunks of 3 latent frames, N = 120, n = 3."""
    weights = [fusion_weight(chunk, 40, 0.4) for chunk in range(40)]
    assert weights == [min(3 * chunk / (120 - 3), 0.4) for chunk in range(40)]
    assert weights[0] == 0
    assert weights[-1] == 0.4


def test_a_single_chunk_does_not_divide_by_zero() -> None:
    assert fusion_weight(0, 1, 0.4) == 0


def test_fuse() -> None:
    assert fuse(2.0, -1.0, 0.25) == pytest.approx(-0.25)


def test_prune_keeps_the_best_and_the_earlier_of_equals() -> None:
    assert prune([0.0, 3.0, 1.0, 3.0], 2) == [1, 3]
    assert prune([1.0, 1.0, 1.0], 2) == [0, 1]
    assert prune([1.0], 5) == [0]


def test_scores_that_are_not_finite_lose() -> None:
    assert prune([math.nan, -5.0, math.inf, -math.inf], 2) == [1]
    with pytest.raises(RewardError, match="all 2 candidates"):
        prune([math.nan, math.nan], 1)


def test_random_pick_is_the_seeds() -> None:
    assert random_pick(8, 3, seed=1) == random_pick(8, 3, seed=1)
    assert len(set(random_pick(8, 3, seed=1))) == 3
    assert len({tuple(random_pick(8, 3, seed)) for seed in range(20)}) > 10
