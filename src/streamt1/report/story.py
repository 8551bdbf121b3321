"""A trace, told as a story: which candidates there were, what became of each, and what memory kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeVar

from streamt1.core.errors import TraceError
from streamt1.core.words import counted
from streamt1.trace.events import (
    BeamJudged,
    CandidateProposed,
    CandidateScored,
    ChunkCommitted,
    ChunkSettled,
    Event,
    MemoryChanged,
    MemorySwitched,
    RunFinished,
    RunStarted,
    SceneStarted,
    Warned,
)
from streamt1.trace.store import Stamped

E = TypeVar("E", bound=Event)
Status = Literal["chosen", "survived", "pruned"]


@dataclass(frozen=True)
class Node:
    """A candidate.

    Attributes:
        parent: candidate id, None in chunk 0.
        short, long, fused: None where the policy does not score chunks, or where the score was not a finite number.
        status: ``chosen`` is in the video; ``survived`` was committed, but another lineage won.
        rank: among the survivors of its chunk, 0 the best; None for the pruned.
    """

    id: int
    chunk: int
    parent: int | None
    seed: int
    short: float | None
    long: float | None
    fused: float | None
    parts: Mapping[str, float | None]
    route: str | None
    status: Status
    rank: int | None


@dataclass(frozen=True)
class Story:
    """A finished run.

    Attributes:
        chunks: the candidates of each chunk, children in the order of their parents, so that no two lines cross.
        lineage: the video's candidates, first chunk first.
        waits: for each chunk, how many more were made until all survivors shared it and its frames could leave; empty
            where the trace does not tell.
        scenes: the beginnings of all scenes but the first; empty for one prompt.
        memory: what the chosen video's memory held after each chunk, by chunk; empty where the trace does not tell.
        switches: what it held when each of those scenes began, by the scene's first chunk; as above.
    """

    started: RunStarted
    finished: RunFinished
    chunks: tuple[tuple[Node, ...], ...]
    lineage: tuple[Node, ...]
    judged: tuple[BeamJudged, ...]
    waits: tuple[int, ...]
    memory: Mapping[int, MemoryChanged]
    warnings: tuple[str, ...]
    scenes: tuple[SceneStarted, ...] = ()
    switches: Mapping[int, MemorySwitched] = field(default_factory=dict)

    @property
    def beginnings(self) -> list[tuple[int, str]]:
        """The first chunk and the prompt of each scene, the first one included; none for one prompt."""
        later = [(scene.chunk, scene.prompt) for scene in self.scenes]
        return [(0, self.started.prompt), *later] if later else []

    @property
    def scene_numbers(self) -> list[int]:
        """The scene of each chunk, counted from 1; none for one prompt."""
        bounds = [*(first for first, _ in self.beginnings), len(self.chunks)]
        return [number for number, (first, end) in enumerate(pairwise(bounds), 1) for _ in range(first, end)]

    @property
    def nodes(self) -> list[Node]:
        return [node for chunk in self.chunks for node in chunk]

    @property
    def config(self) -> Mapping[str, Any]:
        """The search's configuration."""
        return self.started.config

    @property
    def scored(self) -> bool:
        """Whether candidates were scored chunk by chunk."""
        return any(node.fused is not None for node in self.nodes)


def tell(trace: Sequence[Stamped]) -> Story:
    """Reads the events of one run.

    Raises:
        TraceError: the run has not finished, or its events contradict each other.
    """
    events = [stamped.event for stamped in trace]
    started, finished = _ends(events)
    made, length = len(_all(events, CandidateProposed)), started.chunks
    if length is None:
        length = len(finished.lineage)
    if not 1 <= length <= made or started.fps < 1 or started.frames_per_chunk < 1:
        raise TraceError(
            f"the trace contradicts itself: it announces {length} chunks of {started.frames_per_chunk} latent"
            f" frames at {started.fps} a second, and tells of {made} candidates"
        )
    try:
        chunks = _chunks(events, length, set(finished.lineage))
        by_id = {node.id: node for chunk in chunks for node in chunk}
        lineage = tuple(by_id[candidate] for candidate in finished.lineage)
    except KeyError as error:
        raise TraceError(f"the trace contradicts itself: candidate {error} was never proposed") from error
    except IndexError as error:
        raise TraceError(f"the trace contradicts itself: it announces {length} chunks and has more") from error
    if not lineage or len(lineage) != length:
        raise TraceError(f"the trace contradicts itself: of {length} chunks {len(lineage)} are in the video")
    memory = {change.chunk: change for change in _all(events, MemoryChanged) if change.candidate in finished.lineage}
    warnings = tuple(event.message for event in _all(events, Warned))
    judged = tuple(_all(events, BeamJudged))
    scenes = _scenes(events, started, length)
    switches = _switches(events, scenes, finished.lineage)
    if scenes:
        _check_held(memory.values(), switches.values())
    return Story(started, finished, chunks, lineage, judged, _waits(events), memory, warnings, scenes, switches)


def _scenes(events: Sequence[Event], started: RunStarted, length: int) -> tuple[SceneStarted, ...]:
    """The beginnings of all scenes but the first: one behind the other, in the video, and as they were announced."""
    scenes, before = tuple(_all(events, SceneStarted)), 0
    for number, scene in enumerate(scenes, 2):
        if scene.scene != number - 1:
            raise TraceError(
                f"the trace contradicts itself: scene {scene.scene + 1} begins where scene {number} should"
            )
        if not before < scene.chunk < length:
            raise TraceError(
                f"the trace contradicts itself: scene {number} begins with chunk {scene.chunk}, scene {number - 1} with"
                f" chunk {before}, and the video has {counted(length, 'chunk')}"
            )
        before = scene.chunk
    told = [[0, started.prompt], *([scene.chunk, scene.prompt] for scene in scenes)]
    if started.chunks is not None and started.scenes is not None and started.scenes != told:
        raise TraceError("the trace contradicts itself: it announces other scenes than those that begin in it")
    return scenes


def _switches(
    events: Sequence[Event], scenes: Sequence[SceneStarted], lineage: Sequence[int]
) -> dict[int, MemorySwitched]:
    """The switches of the chosen lineage's beam, by chunk."""
    switches, begun = _all(events, MemorySwitched), {scene.chunk for scene in scenes}
    stray = next((switch.chunk for switch in switches if switch.chunk not in begun), None)
    if stray is not None:
        raise TraceError(f"the trace contradicts itself: memory was switched at chunk {stray}, where no scene begins")
    mine = {switch.chunk: switch for switch in switches if switch.candidate == lineage[switch.chunk - 1]}
    lost = next((switch.chunk for switch in switches if switch.chunk not in mine), None)
    if lost is not None:
        raise TraceError(f"the trace contradicts itself: at chunk {lost}, memory was switched, but not the video's")
    return mine


def _check_held(changes: Iterable[MemoryChanged], switches: Iterable[MemorySwitched]) -> None:
    """Memory holds chunks that were made before."""
    held = [(change.chunk, change.chunk + 1, [*change.sinks, *change.window, change.left or 0]) for change in changes]
    held += [(one.chunk, one.chunk, [*one.sinks, *one.window, *one.rewritten, one.recalled or 0]) for one in switches]
    for told, made, chunks in held:
        for chunk in chunks:
            if not 0 <= chunk < made:
                raise TraceError(f"the trace contradicts itself: at chunk {told}, memory holds chunk {chunk}")


def _waits(events: Sequence[Event]) -> tuple[int, ...]:
    waits: list[int] = []
    made = 0
    for event in events:
        if isinstance(event, ChunkCommitted):
            made = event.chunk
        elif isinstance(event, ChunkSettled):
            waits.append(made - event.chunk)
    return tuple(waits)


def _all(events: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def _ends(events: Sequence[Event]) -> tuple[RunStarted, RunFinished]:
    if not events or not isinstance(events[0], RunStarted):
        raise TraceError("the trace does not begin with the start of a run: its first lines are missing")
    if not isinstance(events[-1], RunFinished):
        done, chunks = len({event.chunk for event in _all(events, ChunkCommitted)}), events[0].chunks
        made = counted(done, "chunk") if chunks is None else f"{done} of {counted(chunks, 'chunk')}"
        raise TraceError(
            f"the run has not finished: its trace ends after {made}; go on with it first (streamt1 resume)"
        )
    return events[0], events[-1]


def _chunks(events: Sequence[Event], count: int, chosen: set[int]) -> tuple[tuple[Node, ...], ...]:
    scores = {event.candidate: event for event in _all(events, CandidateScored)}
    ranks = {event.candidate: event.beam for event in _all(events, ChunkCommitted)}
    chunks: list[list[Node]] = [[] for _ in range(count)]
    for made in _all(events, CandidateProposed):
        if made.chunk < 0:
            raise TraceError(f"the trace contradicts itself: it tells of chunk {made.chunk}")
        chunks[made.chunk].append(_node(made, scores.get(made.candidate), ranks.get(made.candidate), chosen))
    for above, chunk in pairwise(chunks):
        place: dict[int | None, int] = {node.id: row for row, node in enumerate(above)}
        chunk.sort(key=lambda node: (place[node.parent], node.id))
    return tuple(tuple(chunk) for chunk in chunks)


def _node(made: CandidateProposed, score: CandidateScored | None, rank: int | None, chosen: set[int]) -> Node:
    status: Status = "pruned" if rank is None else "survived"
    if made.candidate in chosen:
        status = "chosen"
    values = (score.short, score.long, score.fused, score.parts, score.route) if score else (None, None, None, {}, None)
    return Node(made.candidate, made.chunk, made.parent, made.seed, *values, status, rank)
