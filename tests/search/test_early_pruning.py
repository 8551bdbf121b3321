from __future__ import annotations

import pytest
import torch

from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder, TargetClipReward, TargetFrameReward
from streamt1.backbones.sampling import Schedule, few_step
from streamt1.core.errors import ConfigError
from streamt1.search.config import SearchConfig
from streamt1.search.early_pruning import EarlyPruning
from streamt1.search.engine import Engine, Result


def test_the_best_previews_go_on() -> None:
    early = EarlyPruning(lambda rows, x: x.flatten(1).mean(1).tolist(), after=2, keep=0.5)
    previews = torch.tensor([3.0, 1.0, 2.0, 5.0]).view(4, 1, 1, 1, 1)
    assert early(1, range(4), previews) == range(4)
    assert early(2, range(4), previews) == [0, 3]
    assert early(2, [7], previews[:1]) == [7]
    assert early.kept == [0, 3, 7], "parts of a batch add up"
    assert early(2, [0, 1], previews[:2].flip(0)) == [1]
    assert early.kept == [1, 3, 7], "a part that did not fit and comes again is judged anew"


def test_the_kept_end_as_they_would_without_the_others() -> None:
    def run(thin=None) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
        noise = torch.stack([torch.randn(1, 2, 1, 1, generator=g) for g in generators])
        return few_step(lambda x, t, rows: x * 0.3, noise, generators, Schedule(), thin)

    kept = run(lambda done, rows, x: [1, 3] if done == 2 else rows)
    assert torch.equal(kept, run()[[1, 3]])


def search(**settings) -> Result:
    world = GaussianBackbone(), IdentityDecoder(), TargetFrameReward(), TargetClipReward()
    return Engine(*world, SearchConfig(beam_size=4, top_k=2, **settings)).run("", 8, seed=2)


def test_what_is_dropped_saves_its_remaining_steps() -> None:
    whole, early = search(), search(preview_step=1, preview_keep=0.5)
    commits = 7 * 2
    assert whole.cost["model_passes"] == 8 * 8 * 4 + commits
    assert early.cost["model_passes"] == 8 * 8 * 1 + 8 * 4 * 3 + commits
    assert len(early.beam.chunks) == 8


def test_keeping_all_changes_nothing() -> None:
    assert search(preview_step=2, preview_keep=1.0).beam.lineage == search().beam.lineage


@pytest.mark.parametrize("settings", [{"preview_step": 0}, {"preview_keep": 0.0}, {"preview_keep": 1.5}])
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SearchConfig(**settings)
