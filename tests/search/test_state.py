"""A search is a value: it stops at any chunk boundary and goes on from there, and a state is only what it says."""

from __future__ import annotations

import dataclasses
import math
import weakref
from typing import Any

import pytest
import torch

from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder
from streamt1.core.errors import Cancelled, ConfigError, MemoryIntegrityError, RewardError
from streamt1.core.protocols import Models
from streamt1.core.types import RewardOutput
from streamt1.search.choose import Result, choose
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine, search
from streamt1.search.start import start
from streamt1.search.state import SearchState
from streamt1.trace.events import ChunkCommitted, Event
from tests.search.toy import Seen, toy

CHUNKS = 6
SETTINGS: dict[str, SearchConfig] = {
    "stream_t1": SearchConfig(),
    "greedy": apply_policy("greedy", SearchConfig()),
    "best_of_n": apply_policy("best_of_n", SearchConfig()),
    "random": SearchConfig(pruning="random"),
    "lag": SearchConfig(lag=1),
    "taper": SearchConfig(taper=1.0),
    "adaptive": SearchConfig(adaptive=2.0, beam_size=4),
    "budget": SearchConfig(budget_passes=60),
    "preview": SearchConfig(preview_step=2, beam_size=4),
    "official": SearchConfig(seeds="official", decode="official", short_baseline="all"),
}


def stopped(models: Models, config: SearchConfig, at: int) -> Result:
    """A search that is left at a chunk boundary, and gone on with by another one that is given the state alone."""
    state = start(models, config, "", CHUNKS, 3)
    first = search(models, config, state)
    for _ in range(at):
        state = next(first)
    first.close()  # type: ignore[attr-defined]
    assert state.chunk == at
    for reached in search(models, config, state):
        state = reached
    return choose(models, config, state)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_search_goes_on_from_any_state_as_if_it_had_never_stopped(name: str) -> None:
    whole = Engine(toy(), SETTINGS[name]).run("", CHUNKS, 3)
    for at in range(CHUNKS + 1):
        backbone = GaussianBackbone()
        again = stopped(toy(backbone), SETTINGS[name], at)
        assert again.beam.lineage == whole.beam.lineage
        assert torch.equal(again.latents, whole.latents)
        assert torch.equal(again.frames, whole.frames)
        assert dataclasses.replace(again.cost, seconds={}) == dataclasses.replace(whole.cost, seconds={})
        assert backbone.live == 0


def test_a_state_is_frozen_and_every_boundary_has_one() -> None:
    models, config = toy(), SearchConfig()
    states = list(search(models, config, start(models, config, "", CHUNKS, 3)))
    assert [state.chunk for state in states] == list(range(1, CHUNKS + 1))
    assert [state.proposed for state in states] == [4 * chunk for chunk in range(1, CHUNKS + 1)]
    assert all(len(beam.chunks) == state.chunk for state in states for beam in state.beams)
    passes = [state.cost.model_passes for state in states]
    assert passes == sorted(passes)
    with pytest.raises(dataclasses.FrozenInstanceError):
        states[0].chunk = 5  # type: ignore[misc]


def test_a_search_that_is_not_over_has_no_answer() -> None:
    models, config = toy(), SearchConfig()
    with pytest.raises(ConfigError, match="only 0 of 6 chunks are made"):
        choose(models, config, start(models, config, "", CHUNKS, 3))


def test_a_state_is_gone_on_from_once_and_says_so_the_second_time() -> None:
    backbone = GaussianBackbone()
    models, config = toy(backbone), SearchConfig()
    first = start(models, config, "", CHUNKS, 3)
    later = next(search(models, config, first))  # type: ignore[call-overload]
    with pytest.raises(MemoryIntegrityError, match="the state before chunk 0 was gone on from or released"):
        next(search(models, config, first))  # type: ignore[call-overload]
    first.release(models)
    assert backbone.live == 2, "releasing what was given away releases nothing"
    later.release(models)
    later.release(models)
    assert backbone.live == 0
    with pytest.raises(MemoryIntegrityError, match="before chunk 1"):
        next(search(models, config, later))  # type: ignore[call-overload]


class Shortened:
    """Answers for one candidate, whoever asks."""

    fps, time_stride = 16, 1

    def score(self, frames: torch.Tensor, *rest: object) -> RewardOutput:
        return RewardOutput(torch.zeros(1))

    def start(self) -> None:
        return None

    def decode(self, states: Any, latents: torch.Tensor) -> tuple[torch.Tensor, list[None]]:
        return latents, [None]


@pytest.mark.parametrize(
    ("part", "told"),
    [("frame_reward", "the short reward"), ("clip_reward", "the long reward"), ("decoder", "the decoder's states")],
)
def test_a_model_that_does_not_answer_for_every_candidate_is_named(part: str, told: str) -> None:
    backbone = GaussianBackbone()
    with pytest.raises(ValueError, match=f"{told} gave 1 for 4 candidates; it must give one each"):
        Engine(toy(backbone, **{part: Shortened()}), SearchConfig()).run("", 3)
    assert backbone.live == 0


def test_a_preview_after_the_last_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"preview_step=4 leaves nothing to save: this model denoises in 4 steps"):
        start(toy(), SearchConfig(preview_step=4), "", 2)


class Sometimes:
    """A clip reward that fails on one of its calls."""

    def __init__(self, fails_at: int) -> None:
        self.calls, self.fails_at = 0, fails_at

    def score(self, clips: torch.Tensor, fps: float, text: str) -> RewardOutput:
        self.calls += 1
        value = math.nan if self.calls == self.fails_at else 1.0
        return RewardOutput(torch.full((len(clips),), value))


def test_a_step_that_fails_leaves_its_state_as_it_was() -> None:
    backbone = GaussianBackbone()
    models, config = toy(backbone, clip_reward=Sometimes(3)), SearchConfig()
    reached = list[SearchState]()
    with pytest.raises(RewardError):
        reached.extend(search(models, config, start(models, config, "", CHUNKS, 3)))
    state = reached[-1] if reached else start(models, config, "", CHUNKS, 3)
    assert backbone.live == len(state.beams) + (0 if reached else 1)
    later = list(search(models, config, state))
    assert later[-1].chunk == CHUNKS, "the reward works again, and the search goes on from where it was"


def test_a_watcher_that_stops_between_two_commits_leaves_the_state_before_them_whole() -> None:
    def stop(event: Event) -> None:
        if isinstance(event, ChunkCommitted) and event.chunk == 2 and event.beam == 1:
            raise Cancelled("enough")

    backbone = GaussianBackbone()
    models, config = toy(backbone), SearchConfig()
    states = search(models, config, start(models, config, "", CHUNKS, 3), Seen(stop))
    state = [next(states), next(states)][-1]
    with pytest.raises(Cancelled):
        next(states)
    assert backbone.live == 2
    assert list(search(models, config, state))[-1].chunk == CHUNKS


def handles(value: Any, found: list[str], path: str = "result") -> list[str]:
    """Where in a result something of a model is held."""
    if isinstance(value, tuple):
        for index, one in enumerate(value):
            handles(one, found, f"{path}[{index}]")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.name in ("branch", "decoder_state") and getattr(value, field.name) is not None:
                found.append(f"{path}.{field.name}")
            handles(getattr(value, field.name), found, f"{path}.{field.name}")
    return found


def test_a_result_holds_no_handles_and_its_frames_once() -> None:
    result = Engine(toy(), SearchConfig()).run("", CHUNKS, 3)
    assert handles(result, []) == []
    assert result.frames is result.frames
    storage = result.frames.untyped_storage().data_ptr()
    assert all(chunk.frames.untyped_storage().data_ptr() == storage for chunk in result.beam.chunks)
    assert torch.equal(torch.cat([chunk.frames for chunk in result.beam.chunks]), result.frames)
    assert result.beam in result.beams


class Carrying(IdentityDecoder):
    """Counts the states that are alive; each is an object of its own."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def decode(self, states: Any, latents: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        after = [type("State", (), {})() for _ in states]
        self.alive.update(after)
        return latents, after


def test_losers_are_freed_before_the_survivors_are_written() -> None:
    decoder, seen = Carrying(), list[int]()

    class Looking(GaussianBackbone):
        def commit(self, *given: Any) -> Any:
            seen.append(len(decoder.alive))
            return super().commit(*given)

    Engine(toy(Looking(), decoder), SearchConfig()).run("", 4)
    assert seen == [2, 2, 4, 4, 4, 4], "the survivors' states, and their parents' after the first chunk"
