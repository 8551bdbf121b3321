"""A search as a value: what is known at a chunk boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from streamt1.core.errors import MemoryIntegrityError
from streamt1.core.protocols import DecoderState, Models
from streamt1.core.timeline import Scene, Timeline
from streamt1.search.archive import Archive, InMemory
from streamt1.search.candidate import Beam, Candidate
from streamt1.search.cost import Cost
from streamt1.search.lease import Lease, release
from streamt1.search.width import with_spread


@dataclass(frozen=True, eq=False)
class SearchState:
    """All that a search knows at a chunk boundary; the loop maps one state to the next.

    The handles in it belong to whoever holds the state: ``release`` gives their memory back, and a search that goes on
    from a state has done so when it yields the next one. So a state can be gone on from once.

    Attributes:
        timeline: prompts and lengths; of one scene for a plain prompt.
        seed: of the run; every candidate's randomness derives from it.
        chunk: how many chunks have been decided, and so the index of the next one.
        beams: best first.
        proposed: candidates so far, which counts their ids.
        spreads: standard deviation of the fused scores of each scored chunk, in order.
        spreads_before: how many of them are of earlier scenes.
        final: how many first chunks every beam shares: they are settled, and in the archive.
        archive: keeps them; it belongs to the run, as memory does.
        display: state of ``Models.decoder`` after the settled chunks, where a draft decoder shows the candidates.
        cost: spent so far.
        lease: on the memory of the beams.
        given: latents ``[F, C, H, W]`` of the first chunks, where these are not made; see ``search.given``.
    """

    timeline: Timeline
    seed: int
    beams: tuple[Beam, ...]
    chunk: int = 0
    proposed: int = 0
    spreads: tuple[float, ...] = ()
    spreads_before: int = 0
    final: int = 0
    archive: Archive = field(default_factory=InMemory)
    display: DecoderState = None
    cost: Cost = field(default_factory=Cost)
    lease: Lease = field(default_factory=Lease)
    given: tuple[Tensor, ...] = ()

    @property
    def chunks(self) -> int | None:
        """Length of the video; None for one without an end."""
        return self.timeline.chunks

    @property
    def scene(self) -> int:
        """Of the next chunk, counted from 0."""
        return self.timeline.place(self.chunk)

    @property
    def prompt(self) -> str:
        """Of the next chunk."""
        return self.timeline.scenes[self.scene].prompt

    @property
    def in_scene(self) -> int:
        """How many chunks of the next chunk's scene have been decided."""
        return self.chunk - self.timeline.starts[self.scene]

    @property
    def scene_chunks(self) -> int | None:
        """Length of the next chunk's scene; None in a video without an end, in which any prompt may be the last."""
        return None if self.chunks is None else self.timeline.scenes[self.scene].chunks

    @property
    def begins_scene(self) -> bool:
        """Whether the next chunk is the first under a new prompt."""
        return self.chunk > 0 and not self.in_scene and not self.ended

    @property
    def ends_scene(self) -> bool:
        """Whether the next chunk is the last before another scene; that of the last scene is not."""
        return self.scene + 1 < len(self.timeline.scenes) and self.in_scene + 1 == self.scene_chunks

    def under(self, scene: Scene) -> SearchState:
        """The same state, whose next chunk begins another scene; what was to come is dropped. Takes no time."""
        return replace(self, timeline=self.timeline.then(scene, self.chunk))

    @property
    def lineages(self) -> list[tuple[int, ...]]:
        """Candidate ids of each beam's chunks."""
        return [beam.lineage for beam in self.beams]

    @property
    def settled(self) -> tuple[Tensor, ...]:
        """Frames ``[T, 3, H, W]`` of the settled chunks that the archive has, as people see them, first to last."""
        lengths = [len(chunk.frames) for chunk in self.archive.chunks()]
        return tuple(self.archive.shown().split(lengths)) if lengths else ()

    @property
    def at_last(self) -> bool:
        """Whether the next chunk is the last, which has no future, so that memory need not be written."""
        return self.chunks is not None and self.chunk == self.chunks - 1

    @property
    def ended(self) -> bool:
        """Whether all chunks are decided."""
        return self.chunks is not None and self.chunk >= self.chunks

    def tried(self, candidates: Sequence[Candidate]) -> SearchState:
        """The same state, once these candidates for the next chunk have been proposed and scored."""
        fused = [candidate.chunk.score.fused for candidate in candidates if candidate.chunk.score]
        return replace(self, proposed=self.proposed + len(candidates), spreads=with_spread(self.spreads, fused))

    def release(self, models: Models) -> None:
        """Gives the beams' memory back, once however often it is called; the state cannot be gone on with."""
        if not self.lease.ended:
            self.lease.ended = True
            release(models, self.beams)

    def forget(self, models: Models, count: int | None = None) -> None:
        """Mutates: gives back the memory of the first ``count`` beams, of all by default, and keeps no hold of it.

        Whoever still has this state, as the caller of a search does until the next one, would hold tensors that are
        needed no more.
        """
        gone = self.beams[:count]
        release(models, gone)
        left = tuple(replace(beam, branch=None) for beam in gone) + self.beams[len(gone) :]
        object.__setattr__(self, "beams", left)

    def check_held(self) -> None:
        """Raises ``MemoryIntegrityError`` for a state whose memory has been given away."""
        if self.lease.ended:
            raise MemoryIntegrityError(
                f"the state before chunk {self.chunk} was gone on from or released: its memory is the next state's;"
                " start a new search, or keep the later state"
            )
