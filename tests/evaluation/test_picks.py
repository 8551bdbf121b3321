"""Picks against choices that are counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from streamt1.backbones.gaussian import TargetClipReward
from streamt1.core.timeline import Scene, Timeline
from streamt1.evaluation.picks import PickWatcher, pick_of
from streamt1.search.choose import Result
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine
from streamt1.search.watcher import Watcher
from tests.search.toy import toy

PLAIN = Timeline.plain("", 4)


def search(policy: str, watcher: PickWatcher | None, timeline: Timeline = PLAIN, **settings) -> Result:
    config = apply_policy(policy, SearchConfig(beam_size=3, top_k=2, window=2, **settings))
    return Engine(toy(clip_reward=watcher), config, watcher or Watcher()).run(timeline)


def watched(policy: str, every: int = 1, timeline: Timeline = PLAIN, **settings) -> tuple[PickWatcher, Result]:
    """With an oracle that agrees with the clip reward."""
    oracle = lambda clip, text: SimpleNamespace(mean=-(clip - 1).square().mean().item())  # noqa: E731
    watcher = PickWatcher(TargetClipReward(), oracle, every)  # pyright: ignore[reportArgumentType]
    return watcher, search(policy, watcher, timeline, **settings)


def test_a_pick() -> None:
    pick = pick_of([1.0, 4.0, 2.0, 3.0], [0, 1])
    assert (pick.chosen, pick.random, pick.best, pick.regret) == (2.5, 2.5, 3.5, 1.0)


def test_looking_changes_nothing() -> None:
    for policy in ("greedy", "best_of_n", "beam", "stream_t1"):
        _, seen = watched(policy)
        assert torch.equal(seen.latents, search(policy, None).latents)


def test_a_search_whose_reward_is_the_oracle_has_no_regret() -> None:
    watcher, _ = watched("beam", fusion_cap=0.0)
    assert [pick.regret for pick in watcher.chunks] == [0, 0, 0, 0]
    assert all(pick.random < pick.best for pick in watcher.chunks)
    assert watcher.final is not None
    assert watcher.final.regret == 0
    random, _ = watched("beam", pruning="random", sinking=True)
    assert not random.chunks  # the policy leaves no reward to watch
    random, _ = watched("stream_t1", pruning="random")
    assert sum(pick.regret for pick in random.chunks) > 0


def test_best_of_n_chooses_once() -> None:
    watcher, result = watched("best_of_n")
    assert watcher.chunks == []
    assert watcher.final is not None
    assert watcher.final.chosen == pytest.approx(max(result.final)) == pytest.approx(watcher.final.best)
    assert watcher.final.random == pytest.approx(sum(result.final) / 6)
    assert watched("greedy")[0].final is None


def test_every_nth_chunk() -> None:
    assert [len(watched("beam", every)[0].chunks) for every in (1, 2, 3, 5)] == [4, 2, 1, 0]


def test_scenes_are_chosen_at_their_ends_and_videos_by_all_of_them() -> None:
    scenes = Timeline((Scene("a", 2), Scene("b", 3), Scene("c", 1)))
    watcher, result = watched("best_of_n_per_scene", timeline=scenes)
    assert len(watcher.chunks) == 2
    assert all(pick.regret == 0 and pick.random < pick.best for pick in watcher.chunks)
    whole, chosen = watched("best_of_n", timeline=scenes)
    for seen, found in ((watcher, result), (whole, chosen)):
        assert seen.final is not None
        assert seen.final.chosen == pytest.approx(max(found.final))
        assert seen.final.random == pytest.approx(sum(found.final) / 6)
