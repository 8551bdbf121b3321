from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule, few_step
from streamt1.core.errors import ConfigError, RewardError
from streamt1.search.choose import Result
from streamt1.search.config import SearchConfig
from streamt1.search.early_pruning import going_on
from streamt1.search.engine import Engine
from tests.search.toy import toy


def test_the_best_previews_go_on_in_rising_order() -> None:
    assert going_on([3.0, 1.0, 2.0, 5.0], 0.5) == [0, 3]
    assert going_on([1.0, 3.0, 2.0], 0.5) == [1, 2], "half of three is two"
    assert going_on([1.0], 0.1) == [0], "one always goes on"
    assert going_on([2.0, 2.0, 2.0], 0.3) == [0], "the earlier wins a tie"


def test_a_preview_without_a_score_loses_and_all_of_them_are_an_error() -> None:
    assert going_on([math.nan, 1.0, math.inf, 0.0], 1.0) == [1, 3]
    with pytest.raises(RewardError, match="all 2 candidates"):
        going_on([math.nan, math.nan], 0.5)


def test_the_kept_end_as_they_would_without_the_others() -> None:
    draw = torch.Generator().manual_seed(0)
    noise, fresh, schedule = torch.randn(4, 1, 2, 1, 1, generator=draw), torch.randn(4, 3, 1, 2, 1, 1), Schedule()

    def steps(x: Tensor, fresh: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        return few_step(lambda x, t: x * 0.3, x, fresh, schedule, steps)

    half, _ = steps(noise, fresh, range(2))
    kept, _ = steps(half[[1, 3]], fresh[[1, 3]], range(2, 4))
    assert torch.equal(kept, steps(noise, fresh, range(4))[0][[1, 3]])


def search(**settings) -> Result:
    return Engine(toy(), SearchConfig(beam_size=4, top_k=2, **settings)).run("", 8, seed=2)


@pytest.mark.parametrize("batch", [1, 3, 5, 8])
def test_all_candidates_of_a_chunk_are_ranked_together_whatever_the_batch_is(batch: int) -> None:
    whole, parts = (search(preview_step=2, preview_keep=0.3, candidate_batch=size) for size in (None, batch))
    assert [beam.lineage for beam in whole.beams] == [beam.lineage for beam in parts.beams]
    assert whole.cost.model_passes == parts.cost.model_passes


def test_what_is_dropped_saves_its_remaining_steps() -> None:
    whole, early = search(), search(preview_step=1, preview_keep=0.5)
    commits = 7 * 2
    assert whole.cost.model_passes == 8 * 8 * 4 + commits
    assert early.cost.model_passes == 8 * 8 * 1 + 8 * 4 * 3 + commits
    assert len(early.beam.chunks) == 8


def test_keeping_all_changes_nothing() -> None:
    assert search(preview_step=2, preview_keep=1.0).beam.lineage == search().beam.lineage


@pytest.mark.parametrize("settings", [{"preview_step": 0}, {"preview_keep": 0.0}, {"preview_keep": 1.5}])
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SearchConfig(**settings)
