"""The loop, searched over the Gaussian toy: no network, and the best answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from streamt1.backbones.gaussian import (
    GaussianBackbone,
    GaussianBranch,
    IdentityDecoder,
    TargetClipReward,
    TargetFrameReward,
)
from streamt1.core.errors import ConfigError, RewardError
from streamt1.core.types import Remembered, RewardOutput, Route
from streamt1.search.choose import Result
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine
from streamt1.search.watcher import Watcher
from streamt1.trace.events import (
    CandidateProposed,
    CandidatePruned,
    ChunkCommitted,
    MemoryChanged,
    RunFinished,
    Warned,
)
from tests.search.toy import Seen, toy


def search(config: SearchConfig, seed: int = 0, chunks: int = 6, watcher: Watcher = Watcher()) -> Result:
    return Engine(toy(), config, watcher).run("", chunks, seed)


def error(result: Result) -> float:
    """Distance of the answer to the known optimum, every frame at 1."""
    return (result.frames - 1).square().mean().item()


def found(config: SearchConfig, runs: int = 60) -> float:
    """How often a search comes within 0.1 of the optimum."""
    return sum(error(search(config, seed)) < 0.1 for seed in range(runs)) / runs


def test_more_budget_finds_the_known_optimum_more_often() -> None:
    rates = [found(SearchConfig(beam_size=width, top_k=width)) for width in (1, 2, 4, 8)]
    assert rates == sorted(rates)
    assert rates[0] < 0.1
    assert rates[-1] > 0.9


def test_at_equal_width_a_search_at_every_chunk_beats_one_at_the_end() -> None:
    def mean_error(policy: str) -> float:
        config = apply_policy(policy, SearchConfig(beam_size=4, top_k=2))
        return sum(error(search(config, seed)) for seed in range(40)) / 40

    assert mean_error("beam") < 0.5 * mean_error("best_of_n") < 0.5 * mean_error("greedy")


@pytest.mark.parametrize("policy", ["greedy", "best_of_n", "beam", "stream_t1"])
def test_the_same_seed_gives_the_same_bytes(policy: str) -> None:
    config = apply_policy(policy, SearchConfig())
    first, second, other = search(config, 3), search(config, 3), search(config, 4)
    assert torch.equal(first.latents, second.latents)
    assert first.beam.lineage == second.beam.lineage
    assert not torch.equal(first.latents, other.latents)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_survivors_do_not_depend_on_the_batch_size(batch: int) -> None:
    whole = search(SearchConfig(beam_size=4, top_k=3))
    parts = search(SearchConfig(beam_size=4, top_k=3, candidate_batch=batch))
    assert [beam.lineage for beam in whole.beams] == [beam.lineage for beam in parts.beams]


def test_each_unit_can_be_switched_off_alone() -> None:
    full = search(SearchConfig())
    assert not torch.equal(search(SearchConfig(propagation=False)).latents, full.latents)
    unrouted = search(SearchConfig(sinking=False))
    assert {chunk.route for chunk in unrouted.beam.chunks} == {None}
    assert any(chunk.route for chunk in full.beam.chunks)
    unpruned = [error(search(SearchConfig(pruning="random"), seed)) for seed in range(20)]
    pruned = [error(search(SearchConfig(), seed)) for seed in range(20)]
    assert sum(pruned) < 0.5 * sum(unpruned)


def test_without_pruning_until_the_end_all_candidates_go_on_whatever_the_width_is_made_of() -> None:
    whole = search(apply_policy("best_of_n", SearchConfig(beam_size=2, top_k=3)))
    final = search(SearchConfig(beam_size=2, top_k=3, pruning="final", propagation=False, sinking=False))
    assert len(final.beams) == 6
    assert [beam.lineage for beam in final.beams] == [beam.lineage for beam in whole.beams]
    assert torch.equal(final.latents, whole.latents)


@pytest.mark.parametrize("policy", ["greedy", "best_of_n"])
def test_policies_that_choose_whole_videos_have_no_use_for_switches_of_a_search_by_chunks(policy: str) -> None:
    plain = search(apply_policy(policy, SearchConfig()))
    switched = search(apply_policy(policy, SearchConfig(preview_step=1, taper=1.0, adaptive=2.0)))
    assert torch.equal(plain.latents, switched.latents)
    assert (plain.cost.reward_calls, len(plain.beams)) == (switched.cost.reward_calls, len(switched.beams))


def test_noise_is_propagated_along_the_lineage() -> None:
    beam = search(SearchConfig(noise_strength=1.0)).beam
    assert all(torch.equal(chunk.noise, beam.chunks[0].noise) for chunk in beam.chunks)


@pytest.mark.parametrize(
    ("policy", "passes", "rewards"),
    [
        ("greedy", 5 * 4 + 4, 1),
        ("best_of_n", 4 * 5 * 4 + 4 * 4, 4),
        ("beam", 4 * 5 * 4 + 2 * 4, 4 * 5 * 2 + 2),
        ("stream_t1", 4 * 5 * 4 + 2 * 4, 4 * 5 * 2 + 2),
    ],
)
def test_cost_is_counted(policy: str, passes: int, rewards: int) -> None:
    """5 chunks, 4 candidates, 4 steps; a context pass for each survivor of all chunks but the last."""
    cost = search(apply_policy(policy, SearchConfig()), chunks=5).cost
    assert cost.model_passes == passes
    assert cost.reward_calls == rewards
    assert cost.latents_decoded == (1 if policy == "greedy" else 4) * 5
    assert set(cost.seconds) >= {"model", "decode", "reward", "total"}


def test_the_official_way_of_decoding_costs_the_windows_again() -> None:
    official = search(SearchConfig(decode="official", window=3), chunks=5)
    streaming = search(SearchConfig(window=3), chunks=5)
    assert torch.equal(official.latents, streaming.latents)
    assert official.cost.latents_decoded == 4 * (5 + 5 + (1 + 2 + 3 + 3 + 3))


class Tinted(IdentityDecoder):
    """Adds how many chunks came before, which its state counts, and remembers how often it was asked."""

    def __init__(self, tint: float) -> None:
        self.tint, self.chunks = tint, 0

    def decode(self, states: Sequence[int | None], latents: Tensor) -> tuple[Tensor, list[int]]:
        before = torch.tensor([state or 0 for state in states])
        self.chunks += len(latents)
        return latents + self.tint * before.view(-1, 1, 1, 1, 1), (before + 1).tolist()


def test_a_draft_codec_shows_candidates_and_the_codec_decodes_only_what_leaves() -> None:
    decoder, draft = Tinted(10.0), Tinted(0.0)
    seen = Seen()
    result = Engine(toy(decoder=decoder, draft=draft), SearchConfig(), seen).run("", 6, 0)
    plain = search(SearchConfig())
    assert torch.equal(result.latents, plain.latents), "the rewards saw what they see without a draft"
    offsets = torch.arange(6).view(-1, 1, 1, 1).float() * 10
    assert torch.allclose(result.frames, plain.frames + offsets), "one state, carried from chunk to chunk"
    assert torch.equal(torch.cat([frames for _, frames in seen.chunks]), result.frames)
    assert (decoder.chunks, draft.chunks) == (6, 4 * 6)
    assert (result.cost.latents_decoded, result.cost.latents_drafted) == (6, 4 * 6)


def test_the_official_way_of_decoding_has_no_draft() -> None:
    with pytest.raises(ConfigError, match="decode=official"):
        Engine(toy(draft=IdentityDecoder()), SearchConfig(decode="official")).run("", 2)


def test_the_trace_tells_the_whole_story() -> None:
    seen = Seen()
    result, events = search(SearchConfig(), watcher=seen), seen.events
    proposed = [e for e in events if isinstance(e, CandidateProposed)]
    pruned = {e.candidate for e in events if isinstance(e, CandidatePruned)}
    committed = [e for e in events if isinstance(e, ChunkCommitted)]
    assert {e.candidate for e in proposed} == pruned | {e.candidate for e in committed}
    assert not pruned & {e.candidate for e in committed}
    parents = {e.candidate: e.parent for e in proposed}
    lineage = result.beam.lineage
    assert [parents[c] for c in lineage] == [None, *lineage[:-1]]
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert last.lineage == list(lineage)


class Counting(TargetFrameReward):
    """Keeps the shapes that it is shown."""

    shown: ClassVar[list[int]] = []

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        Counting.shown.append(frames.shape[1])
        return super().score(frames, text)


@pytest.mark.parametrize(("wanted", "seen"), [(None, 12), (1, 1), (3, 3), (12, 12), (99, 12)])
def test_the_frame_reward_looks_at_as_many_frames_as_it_is_told(wanted: int | None, seen: int) -> None:
    class Twelve(IdentityDecoder):
        def decode(self, states: Sequence[None], latents: Tensor) -> tuple[Tensor, list[None]]:
            return latents.repeat(1, 12, 1, 1, 1), [None] * len(latents)

    Counting.shown.clear()
    Engine(toy(decoder=Twelve(), frame_reward=Counting()), SearchConfig(frames_scored=wanted)).run("", 3)
    assert set(Counting.shown) == {seen}


class Telling(GaussianBackbone):
    """Tells of its memory after two chunks."""

    def inspect(self, branch: GaussianBranch) -> Remembered | None:
        return Remembered((0,), (), 1, Route.APPEND, Route.EMA, 0) if len(branch.routes) == 2 else None


def test_a_watcher_sees_every_candidate_once_and_changes_nothing() -> None:
    seen = Seen()
    result, events = Engine(toy(Telling()), SearchConfig(), seen).run("", 6), seen.events
    assert seen.candidates == [(candidate, (1, 1, 1, 1)) for candidate in range(6 * 4)]
    assert torch.equal(result.latents, search(SearchConfig()).latents)
    places = [i for i, event in enumerate(events) if isinstance(event, MemoryChanged)]
    assert len(places) == 2
    for place in places:
        committed, changed = events[place - 1 : place + 1]
        assert isinstance(committed, ChunkCommitted)
        assert changed == MemoryChanged(1, committed.candidate, [0], [], 1, "append", "ema", 0)


class Faulty:
    """A frame reward that fails for the candidates that it is told to."""

    def __init__(self, bad: Callable[[int], bool]) -> None:
        self.bad, self.calls = bad, 0

    def score(self, frames: torch.Tensor, text: str) -> RewardOutput:
        scores = []
        for one in frames:
            scores.append(math.nan if self.bad(self.calls) else -one.square().mean().item())
            self.calls += 1
        return RewardOutput(torch.tensor(scores))


def faulty_engine(bad: Callable[[int], bool], watcher: Watcher = Watcher()) -> tuple[Engine, GaussianBackbone]:
    backbone = GaussianBackbone()
    return Engine(toy(backbone, frame_reward=Faulty(bad)), watcher=watcher), backbone


def test_a_candidate_whose_reward_is_nan_loses_and_a_warning_says_so() -> None:
    seen = Seen()
    engine, backbone = faulty_engine(lambda call: call == 6, seen)
    engine.run("", 4)
    warned = [e for e in seen.events if isinstance(e, Warned)]
    assert len(warned) == 1
    assert "candidate 6" in warned[0].message
    assert 6 in {e.candidate for e in seen.events if isinstance(e, CandidatePruned)}
    assert backbone.live == 0


def test_all_nan_is_an_error_and_releases_everything() -> None:
    engine, backbone = faulty_engine(lambda call: call >= 8)
    with pytest.raises(RewardError, match="all 4 candidates"):
        engine.run("", 4)
    assert backbone.live == 0


def test_a_whole_video_whose_reward_is_nan_loses() -> None:
    class FirstVideoFails(TargetClipReward):
        calls = 0

        def score(self, clips: torch.Tensor, fps: float, text: str) -> RewardOutput:
            FirstVideoFails.calls += 1
            return RewardOutput(torch.full((len(clips),), math.nan if FirstVideoFails.calls == 1 else 1.0))

    seen, config = Seen(), apply_policy("best_of_n", SearchConfig())
    result = Engine(toy(clip_reward=FirstVideoFails()), config, seen).run("", 3)
    assert result.beams.index(result.beam) == 1
    assert [e.message for e in seen.events if isinstance(e, Warned)] == [
        "the video of beam 0 loses: its score is not a finite number"
    ]


def test_a_single_chunk_and_none() -> None:
    assert len(search(SearchConfig(), chunks=1).frames) == 1
    with pytest.raises(ConfigError, match="chunks=0"):
        search(SearchConfig(), chunks=0)
