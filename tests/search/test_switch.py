"""What the beginning of a scene changes in a search, on the Gaussian toy."""

from __future__ import annotations

import dataclasses
import weakref
from collections import deque

import pytest
import torch
from torch import Tensor

from streamt1.backbones.gaussian import GaussianBackbone, GaussianBranch, TargetClipReward, TargetFrameReward
from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError, MemoryIntegrityError
from streamt1.core.protocols import Switched
from streamt1.core.timeline import Scene, Switch, Timeline
from streamt1.core.types import RewardOutput, Route
from streamt1.pipeline.pipeline import Pipeline
from streamt1.search.choose import choose
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.search.engine import Engine, search, step
from streamt1.search.expand import width
from streamt1.search.start import start
from streamt1.search.width import usual_widths
from streamt1.trace.events import CandidateScored, ChunkCommitted, SceneStarted
from tests.search.toy import Seen, toy

PROMPT, OTHER = "a red circle resting on a navy plain background", "a green star resting on a teal plain background"
SCENES = Timeline((Scene("a", 4), Scene("b", 3), Scene("c", 3)))


class Asked:
    """Rewards that note what they are asked."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.clips: list[tuple[str, int]] = []

    def score(self, frames: Tensor, *rest: object) -> RewardOutput:
        *fps, text = rest
        if fps:
            self.clips.append((str(text), frames.shape[1]))
            return TargetClipReward().score(frames, 16.0, str(text))
        self.frames.append(str(text))
        return TargetFrameReward().score(frames, str(text))


def test_rewards_are_asked_for_the_scene_and_see_no_other() -> None:
    asked, config = Asked(), SearchConfig(window=3, beam_size=1, top_k=2)
    models = toy(frame_reward=asked, clip_reward=asked)
    *_, state = search(models, config, start(models, config, SCENES))
    asked_while_searching = list(dict.fromkeys(asked.clips))
    assert list(dict.fromkeys(asked.frames)) == ["a", "b", "c"]
    assert asked_while_searching == [
        ("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3), ("c", 1), ("c", 2), ("c", 3),
    ]  # fmt: skip
    asked.clips.clear()
    result = choose(models, config, state)
    assert asked.clips == [("a", 4), ("b", 3), ("c", 3)] * 2
    parts = result.frames.split([4, 3, 3])
    judged = [TargetClipReward().score(part[None], 16.0, "").score.item() for part in parts]
    assert result.final[result.beams.index(result.beam)] == pytest.approx(sum(judged) / 3)


def test_weights_and_baselines_begin_again() -> None:
    seen = Seen()
    config = SearchConfig(fusion_cap=1.0, beam_size=2, top_k=1, scene_sink=True)
    models = toy()
    deque(search(models, config, start(models, config, SCENES, watcher=seen), seen), maxlen=0)
    weights = {}
    for event in seen.events:
        if isinstance(event, CandidateScored):
            short, long, fused = event.short or 0.0, event.long or 0.0, event.fused or 0.0
            if abs(short - long) > 1e-3:
                weights[event.chunk] = (fused - long) / (short - long)
    for chunk, weight in {1: 1 / 3, 3: 1.0, 5: 0.5, 6: 1.0, 8: 0.5, 9: 1.0}.items():
        assert weights[chunk] == pytest.approx(weight, abs=1e-3)
    routes = {event.chunk: event.route for event in seen.events if isinstance(event, ChunkCommitted)}
    assert routes[0] is None
    assert routes[4] == routes[7] == Route.APPEND.value
    begun = [(event.chunk, event.scene, event.prompt) for event in seen.events if isinstance(event, SceneStarted)]
    assert begun == [(4, 1, "b"), (7, 2, "c")]


def test_widths_follow_the_scenes() -> None:
    config = SearchConfig(beam_size=4, top_k=2, taper=1.0)
    models = toy()
    begin = start(models, config, SCENES)
    widths = [width(models, config, begin)]
    widths += [width(models, config, state) for state in search(models, config, begin) if not state.ended]
    assert widths == [*usual_widths(4, 8, 1.0), *usual_widths(3, 8, 1.0), *usual_widths(3, 8, 1.0)]


class Fails(GaussianBackbone):
    """Fails at the n-th call of a method."""

    def __init__(self, method: str, left: int) -> None:
        super().__init__()
        self.method, self.left = method, left
        inner = getattr(self, method)

        def failing(*args: object) -> object:
            self.left -= 1
            if not self.left:
                raise ValueError("no more")
            return inner(*args)

        setattr(self, method, failing)


FAILURES = [("switch", 1), ("switch", 2), ("denoise", 2), ("commit", 3), ("commit", 4)]


@pytest.mark.parametrize(("method", "left"), FAILURES)
def test_a_step_that_fails_leaves_the_state_as_it_was(method: str, left: int) -> None:
    backbone = Fails(method, left)
    models, config = toy(backbone), SearchConfig(top_k=2)
    scenes = Timeline((Scene("a", 1), Scene("b", 2)))
    state = step(models, config, start(models, config, scenes), Seen())
    live = backbone.live
    assert live == 2
    with pytest.raises(ValueError, match="no more"):
        step(models, config, state, Seen())
    assert backbone.live == live
    after = step(models, config, state, Seen())
    assert (after.chunk, backbone.live) == (2, 2)
    after.release(models)
    assert backbone.live == 0


class Rewrites(Fails):
    """Says that it has written its memory again; ``most`` is how many branches it held at once."""

    most = 0

    def switch(self, branch: GaussianBranch, prompt: str, memory: Switch | None) -> Switched:
        done = super().switch(branch, prompt, memory)
        self.most = max(self.most, self.live)
        return dataclasses.replace(done, passes=1, rewritten=(0,))


@pytest.mark.parametrize(("method", "left"), [*FAILURES, ("denoise", 99)])
def test_memory_that_is_written_again_is_not_held_twice(method: str, left: int) -> None:
    backbone = Rewrites(method, left)
    models, config = toy(backbone), SearchConfig(top_k=2)
    scenes = Timeline((Scene("a", 1), Scene("b", 2)))
    state = step(models, config, start(models, config, scenes), Seen())
    if left == 99:
        after = step(models, config, state, Seen())
        assert (after.chunk, backbone.live, backbone.most) == (2, 2, 3), "of two beams, one is held twice at a time"
        after.release(models)
    else:
        with pytest.raises(ValueError, match="no more"):
            step(models, config, state, Seen())
        if not state.lease.ended:  # nothing had been written yet
            assert backbone.live == 2
            state.release(models)
        with pytest.raises(MemoryIntegrityError):
            step(models, config, state, Seen())
    assert backbone.live == 0


def test_what_was_written_again_is_gone_though_the_state_before_is_held() -> None:
    """Whoever drives a search holds the state before while the next one is made: on a device that would be memory."""
    backbone = Rewrites("denoise", 99)
    models, config = toy(backbone), SearchConfig(top_k=2)
    state = step(models, config, start(models, config, Timeline((Scene("a", 1), Scene("b", 2)))), Seen())
    before = [weakref.ref(beam.branch) for beam in state.beams]
    alive = list[int]()
    denoise = backbone.denoise
    backbone.denoise = lambda *args: alive.append(sum(one() is not None for one in before)) or denoise(*args)
    after = step(models, config, state, Seen())
    assert alive == [0]
    assert {beam.lineage for beam in state.beams} == {lineage[:1] for lineage in after.lineages}, "what it knows stays"
    after.release(models)


class RewritesTheSecond(Rewrites):
    """One beam's memory is written again, and that of those before and after it is not."""

    asked = 0

    def switch(self, branch: GaussianBranch, prompt: str, memory: Switch | None) -> Switched:
        done, self.asked = super().switch(branch, prompt, memory), self.asked + 1
        return done if self.asked == 2 else dataclasses.replace(done, passes=0, rewritten=())


@pytest.mark.parametrize(
    ("method", "left"), [("switch", 2), ("switch", 3), ("denoise", 2), ("commit", 5), ("denoise", 99)]
)
def test_some_beams_are_written_again(method: str, left: int) -> None:
    backbone = RewritesTheSecond(method, left)
    models, config = toy(backbone), SearchConfig(top_k=3)
    scenes = Timeline((Scene("a", 1), Scene("b", 2)))
    state = step(models, config, start(models, config, scenes), Seen())
    assert backbone.live == 3
    if left < 99:
        with pytest.raises(ValueError, match="no more"):
            step(models, config, state, Seen())
        state.release(models)
    else:
        after = step(models, config, state, Seen())
        assert (after.chunk, backbone.live) == (2, 3)
        after.release(models)
    assert backbone.live == 0


def test_a_scene_that_is_said_while_it_runs() -> None:
    models, config = toy(), SearchConfig(lag=2)
    state = start(models, config, "a", None)
    state = step(models, config, state, Seen()).under(Scene("b", None, "cut"))
    assert (state.prompt, state.in_scene, state.begins_scene, state.scene_chunks) == ("b", 0, True, None)
    state = step(models, config, state, Seen())
    assert [(scene.prompt, scene.chunks) for scene in state.timeline.scenes] == [("a", 1), ("b", None)]
    assert state.in_scene == 1
    assert dataclasses.replace(state).under(Scene("c", None)).timeline.starts == [0, 1, 2]
    assert all(torch.isfinite(chunk.latents).all() for beam in state.beams for chunk in beam.chunks)
    state.release(models)


class OnePrompt:
    """A backbone of somebody's own that knows no scenes."""

    def __init__(self) -> None:
        self.whole = GaussianBackbone()

    def __getattr__(self, name: str) -> object:
        if name in ("switch", "switch_passes"):
            raise AttributeError(name)
        return getattr(self.whole, name)


def test_a_video_without_an_end_needs_no_judgement() -> None:
    config = SearchConfig(lag=1, pruning="random", sinking=False)
    state = step(toy(), config, start(toy(), config, "a", None), Seen())
    assert len(choose(toy(), config, state).frames)
    state.release(toy())


def test_scenes_that_had_not_begun_are_none_of_a_video_that_has_ended() -> None:
    scenes = Timeline((Scene("a", 2), Scene("b", 2), Scene("c", None)))
    ended = [[(scene.prompt, scene.chunks) for scene in scenes.ended(chunk).scenes] for chunk in (1, 2, 3, 4, 5)]
    a, b = [("a", None)], [("a", 2), ("b", None)]
    assert ended == [a, a, b, b, [("a", 2), ("b", 2), ("c", None)]]
    config = SearchConfig(lag=1)
    state = start(toy(), config, scenes)
    for _ in range(2):
        state = step(toy(), config, state, Seen())
    assert choose(toy(), config, state).timeline is None
    state.release(toy())


def test_a_model_of_one_prompt_makes_no_scenes() -> None:
    lone = OnePrompt()
    models = dataclasses.replace(toy(), backbone=lone)
    with pytest.raises(ConfigError, match="OnePrompt"):
        Pipeline(load_config("pocket", {"search.budget_passes": 200}), models).asked(
            Timeline((Scene(PROMPT, 2), Scene(OTHER, 2)))
        )
    assert Engine(models, SearchConfig(budget_passes=200)).run("a", chunks=3).frames.isfinite().all()
    with pytest.raises(
        ConfigError, match="OnePrompt makes videos of one prompt: it has no switch and no switch_passes"
    ):
        start(models, SearchConfig(), SCENES)
    begun = step(models, SearchConfig(lag=1), start(models, SearchConfig(lag=1), "a", None), Seen())
    with pytest.raises(ConfigError, match="OnePrompt"):
        step(models, SearchConfig(lag=1), begun.under(Scene("b", None)), Seen())
    begun.release(models)
    assert lone.whole.live == 0


def test_best_of_n_per_scene_goes_on_from_the_best_of_every_scene() -> None:
    asked, config = Asked(), apply_policy("best_of_n_per_scene", SearchConfig(beam_size=2, top_k=2))
    models, seen = toy(frame_reward=asked, clip_reward=asked), Seen()
    states = list(search(models, config, start(models, config, SCENES), seen))
    assert [len(state.beams) for state in states] == [4, 4, 4, 1, 4, 4, 1, 4, 4, 4]
    assert not asked.frames
    assert asked.clips == [("a", 4), ("b", 3)], "all candidates at once, at the end of a scene"
    scored = [event for event in seen.events if isinstance(event, CandidateScored)]
    assert [event.chunk for event in scored] == [3] * 4 + [6] * 4
    assert all(event.short is None and event.long == event.fused for event in scored)
    for chunk in (3, 6):
        longs = {event.candidate: event.long or 0.0 for event in scored if event.chunk == chunk}
        [kept] = [e.candidate for e in seen.events if isinstance(e, ChunkCommitted) and e.chunk == chunk]
        assert longs[kept] == max(longs.values())
    result = choose(models, config, states[-1])
    assert len({beam.lineage[:7] for beam in result.beams}) == 1
    assert result.cost.record()["reward_calls"] == 4 + 4 + 4 * 3


def test_best_of_n_per_scene_over_one_scene_is_best_of_n() -> None:
    plain = SearchConfig(beam_size=1, top_k=3)
    one, other = (Engine(toy(), apply_policy(name, plain)).run("a", 5) for name in ("best_of_n", "best_of_n_per_scene"))
    assert torch.equal(one.latents, other.latents)
    assert one.final == other.final
