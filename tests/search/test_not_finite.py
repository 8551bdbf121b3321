"""Numbers that are not numbers: a candidate that holds some loses, whoever made them; if all do, the run ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder, TargetFrameReward
from streamt1.core.errors import NotFiniteError, RewardError
from streamt1.core.types import RewardOutput
from streamt1.decoders.batching import bytes_of
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine
from streamt1.trace.events import Warned
from tests.search.toy import Seen, toy


class BadModel(GaussianBackbone):
    """Spoils some candidates of every chunk."""

    def __init__(self, rows: Sequence[int], value: float) -> None:
        super().__init__()
        self.rows, self.value = list(rows), value

    def denoise(self, parents: Sequence[Any], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        noisy, clean = super().denoise(parents, x, noise, steps)
        spoiled = torch.where(torch.isin(torch.arange(len(x)), torch.tensor(self.rows)))[0]
        noisy[spoiled], clean[spoiled] = self.value, self.value
        return noisy, clean


class BadDecoder(IdentityDecoder):
    """Makes numbers that are not finite of large latents; of bytes it cannot."""

    def __init__(self, in_bytes: bool) -> None:
        self.in_bytes = in_bytes

    def decode(self, states: Sequence[Any], latents: Tensor) -> tuple[Tensor, list[Any]]:
        frames, after = super().decode(states, latents)
        frames = torch.where(frames > 1e3, math.inf, frames)
        return (bytes_of(frames, True) if self.in_bytes else frames), after


def warnings(seen: Seen) -> list[str]:
    return [event.message for event in seen.events if isinstance(event, Warned)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("policy", ["stream_t1", "beam"])
def test_a_candidate_with_latents_that_are_not_finite_loses(value: float, policy: str) -> None:
    seen = Seen()
    config = apply_policy(policy, SearchConfig(beam_size=2, top_k=2))
    result = Engine(toy(backbone=BadModel([1, 2], value)), config, seen).run("", 3)
    assert result.latents.isfinite().all()
    assert result.frames.isfinite().all()
    assert not {1, 2, 5, 6} & set(result.beam.lineage)
    assert warnings(seen)[0] == "chunk 1: candidate 1 loses: the model made numbers that are not finite"
    assert len(warnings(seen)) == 6


@pytest.mark.parametrize("in_bytes", [False, True])
def test_a_candidate_whose_pixels_are_not_finite_loses(in_bytes: bool) -> None:
    seen, models = Seen(), toy(backbone=BadModel([0], 1e4), decoder=BadDecoder(in_bytes))
    result = Engine(models, SearchConfig(beam_size=2, top_k=1), seen).run("", 2)
    assert result.latents.abs().max() < 1e3
    assert "chunk 1: candidate 0 loses: the decoder made numbers that are not finite" in warnings(seen)


@pytest.mark.parametrize("policy", ["greedy", "best_of_n", "beam", "stream_t1"])
@pytest.mark.parametrize("part", ["model", "decoder"])
def test_a_run_of_nothing_but_such_candidates_ends_at_once(policy: str, part: str) -> None:
    models = (
        toy(backbone=BadModel(range(99), math.nan))
        if part == "model"
        else toy(backbone=BadModel(range(99), 1e4), decoder=BadDecoder(True))
    )
    with pytest.raises(NotFiniteError, match=f"all . candidates hold .* the {part}"):
        Engine(models, apply_policy(policy, SearchConfig())).run("", 3)


def test_whole_videos_go_on_without_the_ones_that_failed() -> None:
    config = apply_policy("best_of_n", SearchConfig())
    result = Engine(toy(backbone=BadModel([3], math.nan)), config).run("", 3)
    assert result.latents.isfinite().all()


def test_a_preview_that_is_not_finite_is_not_gone_on_with() -> None:
    config = SearchConfig(preview_step=1, preview_keep=0.5)
    result = Engine(toy(backbone=BadModel([0], math.nan)), config).run("", 2)
    assert result.latents.isfinite().all()


class NanReward(TargetFrameReward):
    def score(self, frames: Tensor, text: str) -> RewardOutput:
        scores = super().score(frames, text).score
        scores[:1] = math.nan
        return RewardOutput(scores)


def test_the_warning_names_the_reward() -> None:
    seen = Seen()
    Engine(toy(frame_reward=NanReward()), SearchConfig(), seen).run("", 2)
    assert warnings(seen)[0] == "chunk 1: candidate 0 loses: the frame reward gave no finite number"


def test_one_sample_needs_no_reward() -> None:
    class Nothing:
        def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
            return RewardOutput(torch.full((len(clips),), math.nan))

    seen = Seen()
    result = Engine(toy(clip_reward=Nothing()), apply_policy("greedy", SearchConfig()), seen).run("", 2)
    assert math.isnan(result.final[0])
    assert warnings(seen) == ["the video of beam 0 has no judgement: its score is not a finite number"]
    with pytest.raises(RewardError):
        Engine(toy(clip_reward=Nothing()), apply_policy("best_of_n", SearchConfig())).run("", 2)


def test_latents_beyond_what_decoders_are_made_for_are_warned_of() -> None:
    seen = Seen()
    Engine(toy(backbone=BadModel([2], 80.0)), SearchConfig(), seen).run("", 1)
    assert warnings(seen) == [
        "chunk 1: candidate 2 has latents of up to 80; decoders are made for about 5, so its pixels mean little"
    ]
