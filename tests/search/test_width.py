"""Widths follow the spread of the scores, and budgets are kept."""

from __future__ import annotations

import dataclasses

import pytest

from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.core.errors import ConfigError
from streamt1.core.timeline import Scene, Timeline
from streamt1.search.choose import Result, choose
from streamt1.search.config import Pruning, SearchConfig, apply_policy, check_preview
from streamt1.search.engine import Engine, step
from streamt1.search.engine import search as search_on
from streamt1.search.start import start
from streamt1.search.width import Spending, candidates_for, shares, usual_widths, with_spread
from streamt1.trace.events import ChunkStarted
from tests.search.toy import Seen, toy


def test_a_constant_width_is_the_usual_one() -> None:
    assert candidates_for(usual_widths(7, 4), Spending(spreads=[0.1, 9.0]), (4, 4)) == 4


@pytest.mark.parametrize("chunks", [1, 2, 7, 40])
@pytest.mark.parametrize("width", [1, 2, 4, 16])
def test_a_tapered_search_has_as_many_candidates_in_all(chunks: int, width: int) -> None:
    assert usual_widths(chunks, width) == [width] * chunks
    tapered = usual_widths(chunks, width, taper=1.0)
    assert len(tapered) == chunks
    assert min(tapered) >= 1
    assert sum(tapered) - chunks * width in range(chunks), "more only where a chunk would have got none"
    if width > 1 and chunks > 1:
        assert tapered[0] > tapered[-1]


def test_the_width_falls_with_the_chunks_that_inherit_it() -> None:
    assert usual_widths(7, 4, taper=1.0) == [7, 6, 5, 4, 3, 2, 1]
    passes = search(7, taper=1.0).cost.model_passes
    assert passes == 28 * 4 + 6 * 2, "two survivors of every chunk but the last, which nothing follows"


def test_scores_that_agree_get_fewer_candidates_than_those_that_disagree() -> None:
    calm = candidates_for([4] * 5, Spending(spreads=[1.0, 1.0, 0.1]), (4, 4), adaptive=1.0)
    even = candidates_for([4] * 5, Spending(spreads=[1.0, 1.0, 1.0]), (4, 4), adaptive=1.0)
    wild = candidates_for([4] * 5, Spending(spreads=[1.0, 1.0, 9.0]), (4, 4), adaptive=1.0)
    assert calm < even == 4 < wild <= 8


def test_spreads_are_noted_chunk_by_chunk() -> None:
    nan = float("nan")
    assert with_spread((), [1.0, 3.0]) == (1.0,)
    assert with_spread((1.0,), [1.0, nan, 5.0]) == (1.0, 2.0), "what is no number has no spread"
    assert with_spread((1.0, 3.0), [7.0]) == (1.0, 3.0, 2.0), "one candidate alone counts as an average chunk"
    assert with_spread((), [7.0]) == ()
    assert with_spread((1.0,), []) == (1.0,), "a chunk that was not scored"


def test_shares_favour_the_better_beams() -> None:
    assert shares(4, 2) == [2, 2]
    assert shares(5, 2) == [3, 2]
    assert shares(1, 2) == [1, 0]


def search(chunks: int, **settings) -> Result:
    return Engine(toy(), SearchConfig(beam_size=2, top_k=2, **settings)).run("", chunks, seed=1)


@pytest.mark.parametrize("taper", [0.0, 1.0])
@pytest.mark.parametrize("adaptive", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("budget", [10, 20, 33, 60, 1000])
def test_a_budget_of_passes_is_kept(budget: int, adaptive: float, taper: float) -> None:
    least = 8 * (GaussianBackbone.steps + 1) - 1
    if budget < least:
        with pytest.raises(ConfigError, match=f"one sample takes {least}"):
            search(8, budget_passes=budget, adaptive=adaptive, taper=taper)
        return
    result = search(8, budget_passes=budget, adaptive=adaptive, taper=taper)
    assert result.cost.model_passes <= budget
    assert len(result.beam.chunks) == 8


@pytest.mark.parametrize("policy", ["best_of_n", "best_of_n_per_scene"])
@pytest.mark.parametrize("budget", [36, 60, 90, 130, 10**6])
def test_what_is_begun_under_a_budget_is_made_to_its_end(policy: str, budget: int) -> None:
    """Of whole videos, and of samples of a scene: none shares chunks with another, and none is dropped unjudged."""
    config = apply_policy(policy, SearchConfig(beam_size=3, top_k=2, budget_passes=budget, adaptive=1.0))
    seen, scenes = Seen(), Timeline((Scene("a", 3), Scene("b", 4)))
    models = toy()
    begun = start(models, config, scenes, watcher=seen)
    state = begun
    for state in search_on(models, config, begun, seen):
        lineages = [lineage[3 if policy.endswith("scene") and state.chunk > 3 else 0 :] for lineage in state.lineages]
        assert len({one for lineage in lineages for one in lineage}) == sum(map(len, lineages))
    widths = [event.candidates for event in seen.events if isinstance(event, ChunkStarted)]
    result = choose(models, config, state, seen)
    assert result.cost.model_passes <= budget
    each = (widths[:3], widths[3:]) if policy.endswith("scene") else (widths,)
    assert all(len(set(part)) == 1 for part in each)
    assert budget < 10**6 or set(widths) == {6}
    assert budget < 90 or min(widths) > 1


def test_seconds_that_run_short_give_videos_up_and_begin_none() -> None:
    """The clock stands still at first, so that a second chunk would be dear and the third cheap again."""
    config = apply_policy("best_of_n", SearchConfig(beam_size=4, top_k=1, budget_seconds=20.0))
    models, widths = toy(), list[int]()
    state = start(models, config, "a", 6)
    for spent in (0.0, 15.0, 1.0, 1.0, 1.0, 1.0):
        cost = dataclasses.replace(state.cost, seconds={**state.cost.seconds, "total": spent})
        state = step(models, config, dataclasses.replace(state, cost=cost), Seen())
        widths.append(len(state.beams))
    assert widths[0] == 4
    assert widths == sorted(widths, reverse=True)
    assert 1 <= widths[-1] < 4
    assert len({one for lineage in state.lineages for one in lineage}) == 6 * widths[-1]
    state.release(models)


@pytest.mark.parametrize("pruning", ["final", "scene"])
def test_a_preview_cannot_drop_what_is_to_be_kept(pruning: Pruning) -> None:
    with pytest.raises(ConfigError, match=f"preview_step=1 .*pruning={pruning} keeps all"):
        check_preview(SearchConfig(pruning=pruning, preview_step=1))
    check_preview(apply_policy("best_of_n", SearchConfig(preview_step=1)))


@pytest.mark.parametrize(("taper", "adaptive"), [(50.0, 0.0), (0.0, 50.0), (50.0, 50.0)])
def test_the_steepest_settings_are_numbers(taper: float, adaptive: float) -> None:
    assert sum(usual_widths(10**5, 4, taper)) >= 10**5
    spending = Spending(spreads=[1e-9] * 10**4 + [1.0])
    assert 1 <= candidates_for([4] * 10, spending, (4, 4), adaptive=adaptive) <= 8


def test_a_large_budget_changes_nothing() -> None:
    assert search(8, budget_passes=10**6).beam.lineage == search(8).beam.lineage


def test_a_budget_of_seconds_ends_in_single_samples() -> None:
    result = search(12, budget_seconds=1e-6)
    assert len(result.beam.chunks) == 12
    assert result.cost.model_passes < search(12).cost.model_passes


@pytest.mark.parametrize(
    "settings",
    [
        {"adaptive": -1.0},
        {"taper": -1.0},
        {"adaptive": 51.0},
        {"taper": 400.0},
        {"budget_passes": 0},
        {"budget_seconds": -2.0},
    ],
)
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SearchConfig(**settings)
