"""What the rewards of a search are shown: bytes or floats, whole clips or the frames that they look at."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from streamt1.backbones.gaussian import IdentityDecoder, TargetClipReward, TargetFrameReward
from streamt1.core.frames import floats, truncated
from streamt1.core.types import RewardOutput
from streamt1.search.choose import Result
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine
from streamt1.trace.events import CandidateScored
from tests.search.toy import Seen, toy

CHUNKS = 5


class ByteDecoder(IdentityDecoder):
    """Shows latents around 1 as bytes."""

    def decode(self, states: Sequence[None], latents: Tensor) -> tuple[Tensor, list[None]]:
        return truncated(latents / 4 + 0.25), [None] * len(latents)


class Frames(TargetFrameReward):
    """Keeps the types that it is shown."""

    def __init__(self, takes_bytes: bool) -> None:
        super().__init__(0.5)
        object.__setattr__(self, "takes_bytes", takes_bytes)
        object.__setattr__(self, "types", set())

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        self.types.add(frames.dtype)  # type: ignore[attr-defined]
        return super().score(floats(frames), text)


class Ends:
    """A clip reward that looks at a clip's first and last frame; keeps how long the clips are that it is shown."""

    takes_bytes = True

    def __init__(self) -> None:
        self.lengths: list[tuple[int, int]] = []

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        return [0, total - 1]

    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        self.lengths.append((seen.shape[1], total))
        return TargetClipReward(0.5).score(floats(seen), fps, text)

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        total = clips.shape[1]
        return self.score_seen(clips[:, self.looks_at(total, fps)], total, fps, text)


class Whole:
    """The same, as a stranger would write it: it knows neither bytes nor samples."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        assert clips.dtype is torch.float32
        self.lengths.append(clips.shape[1])
        return TargetClipReward(0.5).score(clips[:, [0, -1]], fps, text)


def found(config: SearchConfig, frames: object, clips: object) -> tuple[Result, list[CandidateScored]]:
    seen = Seen()
    result = Engine(toy(None, ByteDecoder(), frames, clips), config, seen).run("", CHUNKS, 3)
    return result, [event for event in seen.events if isinstance(event, CandidateScored)]


@pytest.mark.parametrize("decode", ["streaming", "official"])
@pytest.mark.parametrize("scored", [None, 1])
def test_samples_and_bytes_score_as_whole_clips_of_floats(decode: str, scored: int | None) -> None:
    config = SearchConfig(window=3, decode=decode, frames_scored=scored)  # type: ignore[arg-type]
    sampling, whole = Ends(), Whole()
    some, all_of_it = found(config, Frames(True), sampling), found(config, Frames(False), whole)
    assert some[1] == all_of_it[1], "every candidate's scores, bit for bit"
    assert some[0].beam.lineage == all_of_it[0].beam.lineage
    assert some[0].final == all_of_it[0].final
    assert sampling.lengths == [(2, total) for total in whole.lengths]
    assert max(whole.lengths[:-1]) >= 3


def test_a_reward_that_takes_bytes_is_shown_them_and_a_stranger_is_not() -> None:
    for takes, kind in ((True, torch.uint8), (False, torch.float32)):
        reward = Frames(takes)
        result, _ = found(SearchConfig(), reward, Ends())
        assert reward.types == {kind}  # type: ignore[attr-defined]
        assert result.frames.dtype is torch.uint8
        assert all(chunk.frames.dtype is torch.uint8 for chunk in result.beam.chunks)


def test_a_choice_among_whole_videos_looks_at_samples_too() -> None:
    sampling = Ends()
    found(apply_policy("best_of_n", SearchConfig()), Frames(True), sampling)
    assert sampling.lengths == [(2, CHUNKS)] * 4
