"""Checkpoint: a state as numbers and latents, and the same state made of them again, bit for bit.

Memory and decoder states are not stored. They depend on the latents and routes of a beam's chunks alone, so committing
and decoding those again rebuilds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from streamt1.core.protocols import Models
from streamt1.core.timeline import Scene
from streamt1.core.types import Chunk, Route, Score
from streamt1.search.candidate import Beam
from streamt1.search.config import SearchConfig
from streamt1.search.cost import Cost, CostMeter
from streamt1.search.given import written
from streamt1.search.lease import Lease, release
from streamt1.search.settle import leave, settle
from streamt1.search.state import SearchState
from streamt1.search.switch import switch
from streamt1.search.watcher import Watcher

LoadLatents = Callable[[int, int], tuple[Tensor, Tensor]]
"""Chunk and candidate -> clean latents and initial noise, each ``[F, C, H, W]``, float32."""


@dataclass(frozen=True)
class Survivor:
    """One beam at a boundary: its last chunk, but for latents and noise. ``parent`` is None in chunk 0."""

    candidate: int
    parent: int | None
    seed: int
    score: Score | None
    route: Route | None


@dataclass(frozen=True)
class Boundary:
    """What is new at a chunk boundary; all of them up to one, and the latents, make up the state there.

    Attributes:
        chunk: how many chunks have been decided.
        spread: what the last chunk added to ``SearchState.spreads``; None where it added nothing.
        survivors: of the last chunk, best first.
        scene: the one that began with the last chunk, if one did.
    """

    chunk: int
    proposed: int
    settled: int
    spread: float | None
    cost: Cost
    survivors: tuple[Survivor, ...]
    scene: Scene | None = None

    @classmethod
    def of(cls, state: SearchState, before: int) -> Boundary:
        """The last boundary of a state, after one with so many spreads."""
        beams = tuple(_survivor(beam) for beam in state.beams)
        spread = state.spreads[-1] if len(state.spreads) > before else None
        last = state.chunk - 1
        place = state.timeline.place(last)
        scene = state.timeline.scenes[place] if last and state.timeline.starts[place] == last else None
        return cls(state.chunk, state.proposed, state.final, spread, state.cost, beams, scene)

    def record(self) -> dict[str, Any]:
        """As JSON can hold it, floats to their last bit."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Boundary:
        """What ``record`` made. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        numbers = {name: int(record[name]) for name in ("chunk", "proposed", "settled")}
        spread, beams = record["spread"], tuple(map(_read_survivor, record["survivors"]))
        scene = record.get("scene")
        return cls(
            **numbers,
            spread=None if spread is None else float(spread),
            cost=Cost(**record["cost"]),
            survivors=beams,
            scene=None if scene is None else Scene(**scene),
        )


def restore(
    models: Models,
    config: SearchConfig,
    state: SearchState,
    boundaries: Sequence[Boundary],
    load: LoadLatents,
    watcher: Watcher = Watcher(),
) -> SearchState:
    """The state at the last of the boundaries.

    Only chunks that live beams descend from are committed and decoded. Nothing is counted as spent twice.

    Args:
        state: the one before the first chunk; its memory is given back.
        boundaries: all from the first to the one that is wanted.
        watcher: sees the chunks that settle, and no events: they have happened.
    """
    quiet, meter = _Frames(watcher), CostMeter()
    try:
        for boundary, live in zip(boundaries, _ancestors(boundaries)):
            state = _switched(models, state, boundary.scene)
            beams = _grown(models, state, [one for one in boundary.survivors if one.candidate in live], load)
            state.release(models)
            spreads = state.spreads if boundary.spread is None else (*state.spreads, boundary.spread)
            counts = {"chunk": boundary.chunk, "proposed": boundary.proposed, "spreads": spreads}
            state = dataclasses.replace(state, **counts, beams=beams, cost=boundary.cost, lease=Lease())
            state = leave(config, settle(models, state, 0, boundary.settled, quiet, meter))
    except BaseException:
        state.release(models)
        raise
    return state


def _switched(models: Models, state: SearchState, scene: Scene | None) -> SearchState:
    """The state once more under the prompt of its next chunk."""
    if scene is not None and state.chunks is None:
        state = state.under(scene)
    begun = switch(models, state, Watcher(), CostMeter())
    if begun is not state:
        state.release(models)
    return begun


def _survivor(beam: Beam) -> Survivor:
    assert beam.last is not None
    *before, own = beam.lineage
    parent = before[-1] if before else None
    return Survivor(own, parent, beam.last.seed, beam.last.score, beam.last.route)


def _read_survivor(record: Mapping[str, Any]) -> Survivor:
    parent, score, route = record["parent"], record["score"], record["route"]
    return Survivor(
        int(record["candidate"]),
        None if parent is None else int(parent),
        int(record["seed"]),
        None if score is None else Score(**score),
        None if route is None else Route(route),
    )


def _ancestors(boundaries: Sequence[Boundary]) -> list[set[int]]:
    """Candidates of each chunk that the last boundary's beams descend from."""
    wanted = {survivor.candidate for survivor in boundaries[-1].survivors}
    found = []
    for boundary in reversed(boundaries):
        found.append(wanted)
        wanted = {one.parent for one in boundary.survivors if one.candidate in wanted and one.parent is not None}
    return found[::-1]


def _grown(models: Models, state: SearchState, survivors: Sequence[Survivor], load: LoadLatents) -> tuple[Beam, ...]:
    """The beams of a state, one chunk later. Whatever fails, their memory is given back."""
    parents = {beam.lineage[-1] if beam.lineage else None: beam for beam in state.beams}
    beams: list[Beam] = []
    try:
        for survivor in survivors:
            parent, (latents, noise) = parents[survivor.parent], load(state.chunk, survivor.candidate)
            frames, [after] = models.scoring_decoder.decode([parent.decoder_state], latents[None])
            branch = None if state.at_last else written(models, state, parent.branch, latents, survivor.route)
            chunk = Chunk(state.chunk, survivor.seed, noise, latents, frames[0], survivor.score, survivor.route)
            lineage = (*parent.lineage, survivor.candidate)
            beams.append(Beam(branch, after, (*parent.chunks, chunk), lineage, parent.before))
    except BaseException:
        release(models, beams)
        raise
    return tuple(beams)


class _Frames(Watcher):
    """Passes on the chunks that settle, and nothing else."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def settled(self, chunk: int, frames: Tensor) -> None:
        self._watcher.settled(chunk, frames)
