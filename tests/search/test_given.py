"""Searches over videos whose first chunks are given: what is made, and what a checkpoint makes again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models
from streamt1.core.seeds import generator
from streamt1.core.timeline import Scene, Timeline
from streamt1.search.checkpoint import Boundary, restore
from streamt1.search.choose import Result, choose
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import search
from streamt1.search.start import start
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import CandidateProposed, ChunkStarted, Event
from tests.backbones.test_starts import backbone
from tests.search.test_switch import Asked
from tests.search.toy import toy

GIVEN = torch.randn(6, 4, 4, 6, generator=generator(3))


def models(**settings) -> Models:
    return replace(toy(), backbone=backbone(**settings))


class Seen(Watcher):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def happened(self, event: Event) -> None:
        self.events.append(event)


def run(config: SearchConfig, own: Models, given: Tensor | None, chunks: int = 5) -> tuple[Result, list[Event]]:
    seen = Seen()
    state = start(own, config, "a", chunks, 1, seen, given=given)
    for reached in search(own, config, state, seen):
        state = reached
    return choose(own, config, state, seen), seen.events


@pytest.mark.parametrize(
    "config",
    [
        SearchConfig(2, 2),
        SearchConfig(4, 1, pruning="final"),
        SearchConfig(1, 1),
        SearchConfig(2, 2, lag=1, adaptive=1.0),
        SearchConfig(2, 2, preview_step=2),
    ],
)
def test_the_video_begins_with_what_is_given(config: SearchConfig) -> None:
    own = models()
    result, events = run(config, own, GIVEN)
    assert torch.equal(result.latents[:6], GIVEN)
    assert len(result.latents) == 6 + 9
    shown, _ = own.decoder.decode([own.decoder.start()], GIVEN[None])
    assert torch.equal(result.frames[: shown.shape[1]], shown[0])
    widths = [event.candidates for event in events if isinstance(event, ChunkStarted)]
    assert widths[:2] == [1, 1]
    assert widths[2] == config.beam_size * config.top_k
    proposed = [event.chunk for event in events if isinstance(event, CandidateProposed)]
    assert [proposed.count(chunk) for chunk in (0, 1)] == [1, 1]
    other, _ = run(config, own, GIVEN + 1)
    assert not torch.equal(other.latents[6:], result.latents[6:]), "what follows depends on what is given"


def test_a_scene_that_begins_with_what_is_given_is_judged_whole() -> None:
    """Its given chunks are final, and would have left a window of two chunks."""
    asked = Asked()
    own = replace(models(), clip_reward=asked)
    scenes = Timeline((Scene("a", 5), Scene("b", 2)))
    config = apply_policy("best_of_n_per_scene", SearchConfig(beam_size=2, top_k=1, window=2))
    state = start(own, config, scenes, seed=1, given=GIVEN)
    for reached in search(own, config, state):
        state = reached
    whole = choose(own, config, state).frames
    (text, judged), *finals = asked.clips
    assert (text, judged) == ("a", asked.clips[1][1]), "at its end, and once more in the final choice"
    assert judged + finals[1][1] == len(whole)


@pytest.mark.parametrize(
    "settings", [{"beam_size": 1, "top_k": 1}, {"beam_size": 2, "top_k": 1, "budget_passes": 5 * 60}]
)
def test_one_sample_of_a_scene_keeps_no_chunks_to_be_judged_by(settings: dict[str, int]) -> None:
    config = apply_policy("best_of_n_per_scene", SearchConfig(window=3, **settings))
    state = start(toy(), config, "a", 60)
    for reached in search(toy(), config, state):
        assert len(reached.beams[0].chunks) <= 2
        state = reached
    state.release(toy())


def test_no_noise_is_fused_with_that_of_a_given_chunk() -> None:
    fused = run(SearchConfig(2, 2, noise_strength=0.5), models(), GIVEN)[0].beam.chunks
    plain = run(SearchConfig(2, 2, propagation=False), models(), GIVEN)[0].beam.chunks
    for chunk in (fused[2], plain[2]):
        assert torch.equal(chunk.noise, torch.randn(chunk.noise.shape, generator=generator(chunk.seed)))
    assert not torch.equal(fused[3].noise, torch.randn(fused[3].noise.shape, generator=generator(fused[3].seed)))


def test_a_budget_counts_what_is_made() -> None:
    least = 2 + 4 + 2 * 5
    result, _ = run(SearchConfig(2, 2, budget_passes=least), models(), GIVEN)
    assert result.cost.model_passes == least
    with pytest.raises(ConfigError, match=f"one sample takes {least}"):
        run(SearchConfig(2, 2, budget_passes=least - 1), models(), GIVEN)


def test_a_backbone_that_cannot_begin_so_says_it() -> None:
    with pytest.raises(ConfigError, match="begins videos from text alone"):
        start(toy(), SearchConfig(), "a", 2, given=GIVEN)
    with pytest.raises(ConfigError, match="whole chunks of 3"):
        start(models(), SearchConfig(), "a", 2, given=GIVEN[:4])
    with pytest.raises(ConfigError, match="all 2 chunks of the video are given: make it longer"):
        start(models(), SearchConfig(), "a", 2, given=GIVEN)


@pytest.mark.parametrize("until", [1, 2, 3, 4])
def test_a_state_is_made_again_of_its_checkpoint(until: int) -> None:
    config, own = SearchConfig(2, 2), models()
    boundaries: list[Boundary] = []
    kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    state = start(own, config, "a", 5, 1, given=GIVEN)
    for reached in search(own, config, state):
        boundaries.append(Boundary.of(reached, len(state.spreads)))
        for beam in reached.beams:
            assert beam.last is not None
            kept[reached.chunk - 1, beam.lineage[-1]] = beam.last.latents, beam.last.noise
        state = reached
    whole = choose(own, config, state)
    begun = start(own, config, "a", 5, 1, given=GIVEN)
    again: SearchState = restore(own, config, begun, boundaries[:until], lambda *at: kept[at])
    for reached in search(own, config, again):
        again = reached
    assert torch.equal(choose(own, config, again).latents, whole.latents)


def test_frames_that_are_held_stand_in_the_first_chunk() -> None:
    result, events = run(SearchConfig(2, 2), models(starts="held"), GIVEN[:1], 2)
    assert torch.equal(result.latents[:1], GIVEN[:1])
    assert len(result.latents) == 6
    assert [event.candidates for event in events if isinstance(event, ChunkStarted)] == [4, 4]


def test_of_a_clip_whole_chunks_are_given_and_the_rest_is_held() -> None:
    result, events = run(SearchConfig(2, 2), models(starts="held"), GIVEN[:4], 3)
    assert torch.equal(result.latents[:4], GIVEN[:4])
    assert len(result.latents) == 9
    assert [event.candidates for event in events if isinstance(event, ChunkStarted)] == [1, 4, 4]
