"""Widths follow the spread of the scores, and budgets are kept."""

from __future__ import annotations

import pytest

from streamt1.backbones.gaussian import GaussianBackbone, IdentityCodec, TargetClipReward, TargetFrameReward
from streamt1.core.errors import ConfigError
from streamt1.search.engine import Engine, Result
from streamt1.search.policies import SearchConfig
from streamt1.search.width import Spending, candidates_for, shares


def test_a_constant_width_is_the_usual_one() -> None:
    assert candidates_for(7, 4, Spending(spreads=[0.1, 9.0]), 4) == 4


def test_scores_that_agree_get_fewer_candidates_than_those_that_disagree() -> None:
    calm = candidates_for(5, 4, Spending(spreads=[1.0, 1.0, 0.1]), 4, adaptive=1.0)
    even = candidates_for(5, 4, Spending(spreads=[1.0, 1.0, 1.0]), 4, adaptive=1.0)
    wild = candidates_for(5, 4, Spending(spreads=[1.0, 1.0, 9.0]), 4, adaptive=1.0)
    assert calm < even == 4 < wild <= 8


def test_shares_favour_the_better_beams() -> None:
    assert shares(4, 2) == [2, 2]
    assert shares(5, 2) == [3, 2]
    assert shares(1, 2) == [1, 0]


def search(chunks: int, **settings) -> Result:
    world = GaussianBackbone(), IdentityCodec(), TargetFrameReward(), TargetClipReward()
    return Engine(*world, SearchConfig(beam_size=2, top_k=2, **settings)).run("", chunks, seed=1)


@pytest.mark.parametrize("adaptive", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("budget", [10, 20, 33, 60, 1000])
def test_a_budget_of_passes_is_kept(budget: int, adaptive: float) -> None:
    backbone = GaussianBackbone()
    least = 8 * (backbone.passes_per_proposal + 1) - 1
    if budget < least:
        with pytest.raises(ConfigError, match=f"one sample takes {least}"):
            search(8, budget_passes=budget, adaptive=adaptive)
        return
    result = search(8, budget_passes=budget, adaptive=adaptive)
    assert result.cost["model_passes"] <= budget
    assert len(result.beam.chunks) == 8


def test_a_large_budget_changes_nothing() -> None:
    assert search(8, budget_passes=10**6).beam.lineage == search(8).beam.lineage


def test_a_budget_of_seconds_ends_in_single_samples() -> None:
    result = search(12, budget_seconds=1e-6)
    assert len(result.beam.chunks) == 12
    assert result.cost["model_passes"] < search(12).cost["model_passes"]


@pytest.mark.parametrize("settings", [{"adaptive": -1.0}, {"budget_passes": 0}, {"budget_seconds": -2.0}])
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SearchConfig(**settings)
