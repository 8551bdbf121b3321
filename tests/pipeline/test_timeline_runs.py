"""Videos of several scenes on pocket: what they equal, what a switch costs, and that they survive being left."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.config.load import load_config
from streamt1.core.errors import Cancelled, ConfigError, PromptError
from streamt1.core.timeline import Scene, Timeline
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.replay import finished_run, replay
from streamt1.pipeline.run import Run
from streamt1.trace.events import Event, MemorySwitched, RunFinished, RunStarted, SceneStarted
from tests.pipeline.test_pipeline import PROMPT
from tests.pipeline.test_run_folder import EndsAt, assert_same, told

OTHER = "a green star sliding on a teal plain background"
THIRD = "a blue triangle circling on a gray dotted background"
SCENES = Timeline((Scene(PROMPT, 3), Scene(OTHER, 2), Scene(PROMPT, 2)))
SETTINGS: dict[str, dict[str, Any]] = {
    "re-cache": {"memory.switch": "recache"},
    "lag, taper": {"search.lag": 1, "search.taper": 1.0},
    "cut, early pruning, scene sinks": {
        "memory.switch": "cut",
        "search.preview_step": 2,
        "search.scene_sink": True,
    },
    "recall after a re-cache": {"memory.switch": "recache", "memory.recall": 2, "memory.sink": 0},
    "budget": {"search.budget_passes": 110, "memory.switch": "recache", "memory.positions": "relative"},
}
MORE: dict[str, dict[str, Any]] = {
    "keep": {},
    "re-cache, no global sink": {"memory.switch": "recache", "memory.global_sink": False},
    "relative positions": {"memory.switch": "recache", "memory.positions": "relative"},
    "beam": {"policy": "beam", "memory.switch": "recache"},
    "greedy": {"policy": "greedy", "memory.switch": "recache"},
    "best of n": {"policy": "best_of_n"},
    "adaptive": {"search.adaptive": 1.0, "search.short_baseline": "all"},
    "short window": {"search.window": 1},
}


@pytest.fixture(scope="module")
def loaded() -> Pipeline:
    return Pipeline(load_config("pocket"))


def with_settings(loaded: Pipeline, settings: Mapping[str, Any]) -> Pipeline:
    """Another search or memory over the same weights."""
    config, backbone = load_config("pocket", settings), loaded.models.backbone
    assert isinstance(backbone, WanBackbone)
    return Pipeline(config, dataclasses.replace(loaded.models, backbone=backbone.with_memory(config.memory)))


def events_of(run: Run) -> list[Event]:
    events = [stamped.event for stamped in run.trace]
    last = events[-1]
    assert isinstance(last, RunFinished)
    return [*events[:-1], dataclasses.replace(last, cost={**last.cost, "seconds": None})]


@pytest.mark.parametrize("scenes", [[(PROMPT, 3)], [(PROMPT, 1), (PROMPT, 1), (PROMPT, 1)]])
def test_one_prompt_is_one_scene(scenes: list[tuple[str, int]], loaded: Pipeline) -> None:
    plain = loaded.run(PROMPT, 3, seed=4)
    run = loaded.run(Timeline(tuple(Scene(*scene) for scene in scenes)), seed=4)
    assert torch.equal(run.result.latents, plain.result.latents)
    assert torch.equal(run.pixels, plain.pixels)
    assert events_of(run) == events_of(plain)
    assert run.result.timeline is None


@pytest.mark.parametrize("name", [*SETTINGS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_a_run_of_scenes_that_was_left_equals_one_that_was_not(name: str, loaded: Pipeline, tmp_path: Path) -> None:
    pipeline = with_settings(loaded, {**SETTINGS, **MORE}[name])
    whole = pipeline.run(SCENES, seed=3, folder=tmp_path / "whole")
    events = told(tmp_path / "whole")
    begun = [place for place, event in enumerate(events, 1) if isinstance(event, SceneStarted)]
    with pytest.raises(Cancelled):
        pipeline.run(SCENES, seed=3, watcher=EndsAt(begun[1] + 6), folder=tmp_path / "parts")
    with pytest.raises(Cancelled):
        pipeline.run(SCENES, seed=3, watcher=EndsAt(2), folder=tmp_path / "parts")
    assert_same(pipeline.run(SCENES, seed=3, folder=tmp_path / "parts"), whole)
    assert not replay(pipeline, tmp_path / "parts", *finished_run(tmp_path / "parts"))
    backbone = pipeline.models.backbone
    assert isinstance(backbone, WanBackbone)
    assert backbone.memory.pool.live == 0


def test_a_run_is_left_at_every_event_around_a_switch(loaded: Pipeline, tmp_path: Path) -> None:
    pipeline = with_settings(loaded, {"memory.switch": "recache", "search.beam_size": 1})
    scenes = Timeline((Scene(PROMPT, 2), Scene(OTHER, 1)))
    whole = pipeline.run(scenes, folder=tmp_path / "whole")
    events = told(tmp_path / "whole")
    [begun] = [place for place, event in enumerate(events, 1) if isinstance(event, SceneStarted)]
    for place in range(begun - 2, begun + 5):
        folder = tmp_path / f"{place}"
        with pytest.raises(Cancelled):
            pipeline.run(scenes, watcher=EndsAt(place), folder=folder)
        assert_same(pipeline.run(scenes, folder=folder), whole)


def test_a_scene_that_returns_is_recalled(loaded: Pipeline) -> None:
    pipeline = with_settings(loaded, {"memory.recall": 4, "memory.sink": 0})
    scenes = Timeline((Scene(PROMPT, 3), Scene(OTHER, 4), Scene(PROMPT, 2), Scene(THIRD, 1)))
    run, plain = pipeline.run(scenes), with_settings(loaded, {"memory.recall": 0, "memory.sink": 0}).run(scenes)
    switches = [event for event in events_of(run) if isinstance(event, MemorySwitched)]
    assert [event.recalled for event in switches] == [None, None, 0, 0, None, None]
    assert [event.sinks for event in switches] == [[], [], [0], [0], [], []]
    assert torch.equal(run.result.latents[: 7 * 3], plain.result.latents[: 7 * 3])
    assert not torch.equal(run.result.latents[7 * 3 :], plain.result.latents[7 * 3 :])


def test_a_switch_is_made_once_a_beam_and_counted(loaded: Pipeline) -> None:
    pipeline = with_settings(loaded, {"memory.switch": "recache", "search.beam_size": 4})
    backbone = pipeline.models.backbone
    assert isinstance(backbone, WanBackbone)
    passes: list[int] = []
    hook = backbone.model.register_forward_hook(lambda module, given, flow: passes.append(given[0].shape[1]))
    scenes = Timeline((Scene(PROMPT, 2), Scene(OTHER, 4), Scene(THIRD, 1)))
    run = pipeline.run(scenes)
    hook.remove()
    beams = pipeline.config.search.top_k
    joint = [frames // 3 for frames in passes if frames > 3]
    assert joint == [2] * beams + [3] * beams, "two chunks while the window has not slid; then all but the sink"
    cost = run.result.cost
    assert cost.switch_passes == sum(joint)
    assert cost.model_passes == 7 * 4 * 2 * 4 + 6 * beams + sum(joint)
    switched = [event for event in events_of(run) if isinstance(event, MemorySwitched)]
    assert [event.rewritten for event in switched] == [[0, 1]] * beams + [[3, 4, 5]] * beams
    assert [event.passes for event in switched] == joint
    started = events_of(run)[0]
    assert isinstance(started, RunStarted)
    assert started.scenes == [[0, PROMPT], [2, OTHER], [6, THIRD]]


def test_siblings_share_what_was_written_again(loaded: Pipeline) -> None:
    alone = {"search.beam_size": 4, "search.top_k": 1, "memory.recall": 0}
    pipeline = with_settings(loaded, {"memory.switch": "recache", **alone})
    backbone = pipeline.models.backbone
    assert isinstance(backbone, WanBackbone)
    live: list[int] = []

    class Looks(EndsAt):
        def proposed(self, candidate: int, frames: torch.Tensor) -> None:
            live.append(backbone.memory.pool.live)

    pipeline.run(Timeline((Scene(PROMPT, 2), Scene(OTHER, 1))), watcher=Looks(10**6))
    assert live == [0] * 4 + [1] * 4 + [2] * 4, "the old pages are gone, and four candidates share the two new ones"


def test_a_prompt_that_cannot_be_read_is_named_by_its_scene(loaded: Pipeline) -> None:
    with pytest.raises(PromptError, match=r"scene 3: .*zebra"):
        loaded.run([(PROMPT, 1), (OTHER, 1), ("a zebra", 1)])
    with pytest.raises(ConfigError, match="has its own length"):
        loaded.run(SCENES, chunks=4)


def test_scenes_in_seconds_snap_to_chunks(loaded: Pipeline) -> None:
    def lengths(scenes: list[Any], **given: Any) -> list[int | None]:
        return [scene.chunks for scene in loaded.timeline(scenes, **given).scenes]

    assert lengths([(PROMPT, 5), (OTHER, 5)]) == [7, 7]
    assert lengths([(PROMPT, 1.3), (OTHER, 1.2), (THIRD, 1.3)]) == [2, 2, 1]
    assert lengths([PROMPT, OTHER]) == [7, 7]
    assert lengths([PROMPT, OTHER], chunks=5) == [3, 2]
    assert lengths([PROMPT, OTHER, (THIRD, 1.5), PROMPT], chunks=5) == [1, 1, 2, 1], "one at least"
    assert lengths([(PROMPT, 2), OTHER], chunks=9) == [3, 6]
    assert lengths([{"prompt": PROMPT, "chunks": 2}, (OTHER, 3)], endless=True) == [2, None]
    with pytest.raises(ConfigError, match="scene 2 is too short"):
        lengths([(PROMPT, 2), (OTHER, 0.1), (THIRD, 2)])
    with pytest.raises(ConfigError, match=r"make up 14 chunks .*, and 9 chunks .* were asked for"):
        lengths([(PROMPT, 5), (OTHER, 5)], chunks=9)


def test_a_budget_holds_with_switches(loaded: Pipeline) -> None:
    pipeline = with_settings(loaded, {"memory.switch": "recache", "search.budget_passes": 90})
    run = pipeline.run(SCENES)
    assert run.result.cost.switch_passes > 0
    assert run.result.cost.model_passes <= 90
    with pytest.raises(ConfigError, match="one sample takes 42"):
        with_settings(loaded, {"memory.switch": "recache", "search.budget_passes": 41}).run(SCENES)
