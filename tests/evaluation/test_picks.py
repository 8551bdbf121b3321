"""The spy against choices that are counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder, TargetClipReward, TargetFrameReward
from streamt1.evaluation.picks import OracleSpy, pick_of
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine, Result


def search(policy: str, spy: OracleSpy | None, **settings) -> Result:
    config = apply_policy(policy, SearchConfig(beam_size=3, top_k=2, window=2, **settings))
    reward = spy or TargetClipReward()
    return Engine(
        GaussianBackbone(), IdentityDecoder(), TargetFrameReward(), reward, config, spy or (lambda event: None)
    ).run("", 4, 0)


def spy_on(policy: str, every: int = 1, **settings) -> tuple[OracleSpy, Result]:
    """With an oracle that agrees with the clip reward."""
    oracle = lambda clip: SimpleNamespace(mean=-(clip - 1).square().mean().item())  # noqa: E731
    spy = OracleSpy(TargetClipReward(), oracle, every)  # pyright: ignore[reportArgumentType]
    return spy, search(policy, spy, **settings)


def test_a_pick() -> None:
    pick = pick_of([1.0, 4.0, 2.0, 3.0], [0, 1])
    assert (pick.chosen, pick.random, pick.best, pick.regret) == (2.5, 2.5, 3.5, 1.0)


def test_looking_changes_nothing() -> None:
    for policy in ("greedy", "best_of_n", "beam", "stream_t1"):
        _, seen = spy_on(policy)
        assert torch.equal(seen.latents, search(policy, None).latents)


def test_a_search_whose_reward_is_the_oracle_has_no_regret() -> None:
    spy, _ = spy_on("beam", fusion_cap=0.0)
    assert [pick.regret for pick in spy.chunks] == [0, 0, 0, 0]
    assert all(pick.random < pick.best for pick in spy.chunks)
    assert spy.final is not None
    assert spy.final.regret == 0
    random, _ = spy_on("beam", pruning="random", sinking=True)
    assert not random.chunks  # the policy leaves no reward to watch
    random, _ = spy_on("stream_t1", pruning="random")
    assert sum(pick.regret for pick in random.chunks) > 0


def test_best_of_n_chooses_once() -> None:
    spy, result = spy_on("best_of_n")
    assert spy.chunks == []
    assert spy.final is not None
    assert spy.final.chosen == pytest.approx(max(result.final)) == pytest.approx(spy.final.best)
    assert spy.final.random == pytest.approx(sum(result.final) / 6)
    assert spy_on("greedy")[0].final is None


def test_every_nth_chunk() -> None:
    assert [len(spy_on("beam", every)[0].chunks) for every in (1, 2, 3, 5)] == [4, 2, 1, 0]
