"""Switch: where a scene begins, every beam goes on under its prompt. Done once a beam, before its candidates are drawn.

What that does to memory is the model's affair (``Backbone.switch``); what it does to the search stands in
``SearchState``: rewards are asked for the new text, windows and baselines begin again, and widths follow the scene.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Backbone, Models, Switched
from streamt1.core.timeline import Switch, Timeline
from streamt1.search.candidate import Beam
from streamt1.search.cost import CostMeter
from streamt1.search.lease import Lease, release
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import MemorySwitched, SceneStarted


def check_scenes(models: Models, timeline: Timeline) -> None:
    """Raises ``ConfigError`` for scenes over a model of somebody's own that is for videos of one prompt."""
    if len(timeline.scenes) > 1:
        _check_switches(models.backbone)


def _check_switches(backbone: Backbone) -> None:
    missing = [name for name in ("switch", "switch_passes") if not hasattr(backbone, name)]
    if missing:
        raise ConfigError(
            f"{type(backbone).__name__} makes videos of one prompt: it has no {' and no '.join(missing)}; give it"
            " those, or a prompt in place of scenes"
        )


def switch(models: Models, state: SearchState, watcher: Watcher, cost: CostMeter) -> SearchState:
    """The state under the prompt of its next chunk, at the same boundary; itself where no scene begins.

    The state that was given still holds its memory, unless that was written again: then each beam's goes as soon as its
    new one is there, since both would take twice the room.
    """
    if not state.begins_scene:
        return state
    _check_switches(models.backbone)
    scene = state.timeline.scenes[state.scene]
    watcher.happened(SceneStarted(state.chunk, state.scene, scene.prompt, scene.memory))
    beams = list[Beam]()
    try:
        while len(beams) < len(state.beams):
            beam = state.beams[len(beams)]
            done = _switched(models, beam, scene.prompt, scene.memory, cost)
            beams.append(dataclasses.replace(beam, branch=done.branch))
            state.lease.ended |= bool(done.rewritten)
            if state.lease.ended:
                state.forget(models, len(beams))
            _tell(models, watcher, state.chunk, beam.lineage[-1], done)
    except BaseException:
        release(models, beams)
        if state.lease.ended:
            state.forget(models)
        raise
    return dataclasses.replace(
        state, beams=tuple(beams), spreads_before=len(state.spreads), cost=cost.total, lease=Lease()
    )


@contextmanager
def switched(models: Models, state: SearchState, watcher: Watcher, cost: CostMeter) -> Iterator[SearchState]:
    """Gives the state under the prompt of its next chunk. Where the block fails, the state before is as it was; but for
    memory that was written again, which is gone."""
    begun = switch(models, state, watcher, cost)
    try:
        yield begun
    except BaseException:
        if begun is not state:
            begun.release(models)
        raise
    state.release(models)


def _switched(models: Models, beam: Beam, prompt: str, memory: Switch | None, cost: CostMeter) -> Switched:
    with cost.spend("switch"):
        done = models.backbone.switch(beam.branch, prompt, memory)
    cost.count(model_passes=done.passes, switch_passes=done.passes)
    return done


def _tell(models: Models, watcher: Watcher, chunk: int, candidate: int, done: Switched) -> None:
    now = models.backbone.inspect(done.branch)
    if now is not None:
        held = list(now.sinks), list(now.window), list(done.rewritten)
        watcher.happened(MemorySwitched(chunk, candidate, *held, done.passes, done.recalled))
