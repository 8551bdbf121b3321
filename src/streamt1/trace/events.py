"""The events of a run, in the order in which they can occur. Each is a plain record that JSON can hold.

Traces outlive the code that wrote them: an event may gain a field, at its end and with a default, and never loses one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base of all events. ``kind`` names the event in a stored trace."""

    kind: ClassVar[str] = "event"

    def record(self) -> dict[str, Any]:
        """The event as JSON can hold it."""
        return {"event": self.kind, **asdict(self)}


@dataclass(frozen=True)
class RunStarted(Event):
    """The search begins.

    Attributes:
        chunks: length of the video; None for one without an end.
        frames_per_chunk: latent frames.
        config: the search's own configuration.
        time_stride: pixel frames per latent frame, after the video's first, which gives one; None in older traces.
        scenes: the first chunk of each scene, and its prompt, as far as they are known; None for a single prompt.
        given: how many of the first chunks are not made, but of a picture or another video; 0 in older traces.
    """

    kind: ClassVar[str] = "run_started"
    prompt: str
    seed: int
    chunks: int | None
    frames_per_chunk: int
    fps: int
    config: Mapping[str, Any] = field(default_factory=dict)
    time_stride: int | None = None
    scenes: list[list[int | str]] | None = None
    given: int = 0


@dataclass(frozen=True)
class ChunkStarted(Event):
    """A chunk boundary: ``candidates`` will be made from the surviving ``beams`` (candidate ids, best first)."""

    kind: ClassVar[str] = "chunk_started"
    chunk: int
    beams: list[int]
    candidates: int


@dataclass(frozen=True)
class SceneStarted(Event):
    """From this chunk on there is another prompt. ``memory``: what its scene asks for, None as the model does."""

    kind: ClassVar[str] = "scene_started"
    chunk: int
    scene: int
    prompt: str
    memory: str | None = None


@dataclass(frozen=True)
class MemorySwitched(Event):
    """What a beam's memory holds under a new prompt; ``candidate`` is its last chunk's. See ``MemoryChanged``.

    Attributes:
        rewritten: chunks that were read and written again, under the new prompt.
        passes: what it took, in model passes of one chunk.
        recalled: the chunk among ``sinks`` that is read again since its scene returns; None where none is.
    """

    kind: ClassVar[str] = "memory_switched"
    chunk: int
    candidate: int
    sinks: list[int]
    window: list[int]
    rewritten: list[int]
    passes: int
    recalled: int | None = None


@dataclass(frozen=True)
class CandidateProposed(Event):
    """A candidate was denoised and decoded. ``parent`` is a candidate id (None in chunk 0), ``beam`` its rank."""

    kind: ClassVar[str] = "candidate_proposed"
    chunk: int
    candidate: int
    parent: int | None
    beam: int
    seed: int


@dataclass(frozen=True)
class CandidateScored(Event):
    """The rewards of a candidate, None where they were not finite, and the route that they decide for its chunk."""

    kind: ClassVar[str] = "candidate_scored"
    chunk: int
    candidate: int
    short: float | None
    long: float | None
    fused: float | None
    parts: Mapping[str, float | None]
    route: str | None


@dataclass(frozen=True)
class CandidatePruned(Event):
    """A candidate lost."""

    kind: ClassVar[str] = "candidate_pruned"
    chunk: int
    candidate: int


@dataclass(frozen=True)
class ChunkCommitted(Event):
    """A survivor was written into memory, or, after the last chunk, kept. ``beam`` is its rank, 0 the best."""

    kind: ClassVar[str] = "chunk_committed"
    chunk: int
    candidate: int
    beam: int
    route: str | None


@dataclass(frozen=True)
class MemoryChanged(Event):
    """What a committed survivor's memory holds from now on, and what its commit pushed out of the window.

    Chunks are named by their index in the video. Only a backbone that tells about its memory brings this event.

    Attributes:
        candidate: the survivor, committed just before.
        sinks, window: chunks that the next chunk will read, oldest slot first.
        left: the chunk that left the window, None where none did; the rest is None then too.
        route: the label that it carried.
        outcome: what was done with it: an append that finds no room is blended, a blend without a sink is dropped.
        slot: the place in ``sinks`` that it went to; None where it was dropped.
        recalled: the chunk among ``sinks`` that is read again, or read on, since its scene is back; None where none is.
    """

    kind: ClassVar[str] = "memory_changed"
    chunk: int
    candidate: int
    sinks: list[int]
    window: list[int]
    left: int | None = None
    route: str | None = None
    outcome: str | None = None
    slot: int | None = None
    recalled: int | None = None


@dataclass(frozen=True)
class BeamJudged(Event):
    """The clip reward of a surviving beam's whole video; ``candidate`` is its last chunk's."""

    kind: ClassVar[str] = "beam_judged"
    candidate: int
    beam: int
    long: float | None


@dataclass(frozen=True)
class Warned(Event):
    """Something is off, but the search goes on."""

    kind: ClassVar[str] = "warned"
    message: str


@dataclass(frozen=True)
class ChunkSettled(Event):
    """Whatever wins will contain this candidate as its chunk: its frames can leave."""

    kind: ClassVar[str] = "chunk_settled"
    chunk: int
    candidate: int


@dataclass(frozen=True)
class RunFinished(Event):
    """The answer: the candidate ids of the chosen beam, first chunk first, its final score (None where it was not
    finite, or nobody asked), and the search's cost."""

    kind: ClassVar[str] = "run_finished"
    lineage: list[int]
    long: float | None
    cost: Mapping[str, Any]


EVENTS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunStarted, SceneStarted, MemorySwitched, ChunkStarted, CandidateProposed, CandidateScored, CandidatePruned,
        ChunkCommitted, MemoryChanged, ChunkSettled, BeamJudged, Warned, RunFinished,
    )
}  # fmt: skip
