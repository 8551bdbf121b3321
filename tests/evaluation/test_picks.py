"""Picks against choices that are counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from streamt1.backbones.gaussian import TargetClipReward
from streamt1.core.protocols import ClipReward
from streamt1.core.timeline import Scene, Timeline
from streamt1.core.types import RewardOutput
from streamt1.evaluation.picks import PickWatcher, pick_of, pick_watcher
from streamt1.search.choose import Result
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine
from streamt1.search.watcher import Watcher
from tests.search.toy import toy

PLAIN = Timeline.plain("", 4)


def search(policy: str, watcher: PickWatcher | None, timeline: Timeline = PLAIN, **settings) -> Result:
    config = apply_policy(policy, SearchConfig(beam_size=3, top_k=2, window=2, **settings))
    return Engine(toy(clip_reward=watcher), config, watcher or Watcher()).run(timeline)


def watched(
    policy: str, every: int = 1, timeline: Timeline = PLAIN, reward: ClipReward = TargetClipReward(), **settings
) -> tuple[PickWatcher, Result]:
    """With an oracle that agrees with the clip reward."""
    oracle = lambda clip, text: SimpleNamespace(mean=-(clip - 1).square().mean().item())  # noqa: E731
    pruning = apply_policy(policy, SearchConfig(**settings)).pruning
    watcher = pick_watcher(reward, oracle, every, pruning)  # pyright: ignore[reportArgumentType]
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


@pytest.mark.parametrize("every", [1, 40])
def test_scenes_are_chosen_at_their_ends_and_videos_by_all_of_them(every: int) -> None:
    scenes = Timeline((Scene("a", 2), Scene("b", 3), Scene("c", 1)))
    watcher, _ = watched("best_of_n_per_scene", every, timeline=scenes)
    assert watcher.final is not None
    assert len(watcher.picks) == 3
    assert watcher.picks[-1] is watcher.final, "among the last scenes: those before are the same in all videos"
    assert all(pick.regret == 0 and pick.random < pick.best for pick in watcher.picks)
    whole, chosen = watched("best_of_n", every, timeline=scenes)
    assert whole.final is not None
    assert whole.picks == [whole.final]
    assert whole.final.chosen == pytest.approx(max(chosen.final))
    assert whole.final.random == pytest.approx(sum(chosen.final) / 6)


def test_the_last_scenes_alone_are_compared_where_scenes_are_chosen() -> None:
    """With a judge that sees what the reward does not: what it would have gained is not divided by three."""
    scenes = Timeline((Scene("a", 2), Scene("b", 3), Scene("c", 1)))
    read = list[float]()

    def oracle(clip: Tensor, text: str) -> SimpleNamespace:
        read.append(clip.sum().item() if text == "c" else 0.0)
        return SimpleNamespace(mean=read[-1])

    watcher = pick_watcher(TargetClipReward(), oracle, 1, "scene")  # pyright: ignore[reportArgumentType]
    search("best_of_n_per_scene", watcher, scenes)
    assert watcher.final is not None
    last = [value for value in read if value][-6:]
    assert watcher.final.best == pytest.approx(max(last))
    assert watcher.final.random == pytest.approx(sum(last) / 6)


def test_a_search_at_chunk_boundaries_is_not_told_by_its_last_choice() -> None:
    watcher, _ = watched("stream_t1", 40)
    assert watcher.final is not None
    assert watcher.picks == []


def test_previews_are_not_read() -> None:
    watcher, _ = watched("stream_t1", preview_step=1, preview_keep=0.5)
    plain, _ = watched("stream_t1")
    assert len(watcher.picks) == len(plain.picks) == 4
    assert all(pick.random <= pick.best for pick in watcher.picks)


class Sampling(TargetClipReward):
    """Looks at the first and the last frame of a clip, and notes how many it was shown."""

    takes_bytes = True

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def looks_at(self, total: int, fps: float) -> list[int]:
        return [total - 1, 0]

    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        self.shown.append((seen.shape[1], total))
        return self.score(seen, fps, text)


def test_a_reward_that_looks_at_some_frames_is_shown_those() -> None:
    plain, watched_one = Sampling(), Sampling()
    config = apply_policy("stream_t1", SearchConfig(beam_size=3, top_k=2, window=2))
    expected = Engine(toy(clip_reward=plain), config, Watcher()).run(PLAIN)
    for every, looked in ((1, 4), (3, 1), (5, 0)):
        watched_one.shown.clear()
        watcher, found = watched("stream_t1", every, reward=watched_one)
        assert torch.equal(found.latents, expected.latents)
        assert watched_one.shown == plain.shown
        assert watcher.takes_bytes
        assert len(watcher.picks) == looked
        assert watcher.final is not None
        assert watcher.final.regret >= 0
