"""A search as a value: what is known at a chunk boundary, and what a chunk is made of before and after it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from streamt1.core.errors import MemoryIntegrityError
from streamt1.core.protocols import Branch, DecoderState, Models
from streamt1.core.types import Chunk, Score
from streamt1.search.archive import Archive, InMemory
from streamt1.search.cost import Cost
from streamt1.search.lease import Lease, release
from streamt1.search.width import with_spread


@dataclass(frozen=True, eq=False)
class Beam:
    """A video so far, and the handles needed to continue it.

    Attributes:
        branch: the backbone's memory; None after the last chunk, which has no future.
        decoder_state: of the decoder that shows candidates; None in a result.
        chunks: the last ones, first to last: those that have not settled, and those that the next chunk is judged by.
            In a result, all of them.
        lineage: candidate ids of all chunks, first chunk first.
        before: scores of the chunks that have left, where routes are decided by all of them; else empty.
    """

    branch: Branch
    decoder_state: DecoderState
    chunks: tuple[Chunk, ...] = ()
    lineage: tuple[int, ...] = ()
    before: tuple[Score, ...] = ()

    @property
    def first(self) -> int:
        """Index of the first of ``chunks``."""
        return len(self.lineage) - len(self.chunks)

    @property
    def last(self) -> Chunk | None:
        return self.chunks[-1] if self.chunks else None

    @property
    def scores(self) -> list[Score]:
        """Scores of the chunks that have one, first to last, as far as routes need them."""
        return [*self.before, *(chunk.score for chunk in self.chunks if chunk.score is not None)]

    def window(self, chunks: int) -> tuple[Chunk, ...]:
        """The last ``chunks`` chunks, as many as there are."""
        return self.chunks[-chunks:] if chunks else ()

    def without(self, count: int, scores: bool) -> Beam:
        """The same beam without its first ``count`` chunks; ``scores`` keeps what they got."""
        left = [chunk.score for chunk in self.chunks[:count] if scores and chunk.score is not None]
        return replace(self, chunks=self.chunks[count:], before=(*self.before, *left))


@dataclass(frozen=True, eq=False)
class Draw:
    """What a candidate will be made of: all of its randomness.

    Attributes:
        rank: the parent's rank among the beams, 0 the best.
        index: the chunk's position in the video.
        noise: initial noise ``[F, C, H, W]``.
        fresh: noise between the denoising steps, ``[draws, F, C, H, W]``.
    """

    parent: Beam
    rank: int
    index: int
    seed: int
    noise: Tensor
    fresh: Tensor


@dataclass(frozen=True, eq=False)
class Candidate:
    """One possible next chunk of a beam.

    Attributes:
        id: counts candidates over the whole run; -1 for a preview, which is none yet.
        rank: the parent's rank among the beams, 0 the best.
        decoder_state: after this chunk.
        fault: the part that made numbers which are not finite, ``model`` or ``decoder``; such a candidate loses, and
            no reward looks at it.
    """

    id: int
    parent: Beam
    rank: int
    chunk: Chunk
    decoder_state: DecoderState
    fault: str | None = None

    @classmethod
    def of(
        cls, draw: Draw, id: int, latents: Tensor, frames: Tensor, decoder_state: DecoderState, fault: str | None
    ) -> Candidate:
        """What came of a draw: clean latents ``[F, C, H, W]``, frames ``[T, 3, H, W]``."""
        chunk = Chunk(draw.index, draw.seed, draw.noise, latents, frames)
        return cls(id, draw.parent, draw.rank, chunk, decoder_state, fault)

    @property
    def lineage(self) -> tuple[int, ...]:
        """Candidate ids of its ancestors and itself, first chunk first."""
        return (*self.parent.lineage, self.id)

    def with_chunk(self, chunk: Chunk) -> Candidate:
        return replace(self, chunk=chunk)

    def window(self, chunks: int) -> tuple[Chunk, ...]:
        """The last ``chunks`` chunks, this one included."""
        return (*self.parent.window(chunks - 1), self.chunk)

    def grown(self, branch: Branch) -> Beam:
        """The beam that this candidate becomes when it survives."""
        chunks = (*self.parent.chunks, self.chunk)
        return Beam(branch, self.decoder_state, chunks, self.lineage, self.parent.before)


@dataclass(frozen=True, eq=False)
class SearchState:
    """All that a search knows at a chunk boundary; the loop maps one state to the next.

    The handles in it belong to whoever holds the state: ``release`` gives their memory back, and a search that goes on
    from a state has done so when it yields the next one. So a state can be gone on from once.

    Attributes:
        chunks: length of the video; None for one without an end.
        seed: of the run; every candidate's randomness derives from it.
        chunk: how many chunks have been decided, and so the index of the next one.
        beams: best first.
        proposed: candidates so far, which counts their ids.
        spreads: standard deviation of the fused scores of each scored chunk, in order.
        final: how many first chunks every beam shares: they are settled, and in the archive.
        archive: keeps them; it belongs to the run, as memory does.
        display: state of ``Models.decoder`` after the settled chunks, where a draft decoder shows the candidates.
        cost: spent so far.
        lease: on the memory of the beams.
    """

    prompt: str
    chunks: int | None
    seed: int
    beams: tuple[Beam, ...]
    chunk: int = 0
    proposed: int = 0
    spreads: tuple[float, ...] = ()
    final: int = 0
    archive: Archive = field(default_factory=InMemory)
    display: DecoderState = None
    cost: Cost = field(default_factory=Cost)
    lease: Lease = field(default_factory=Lease)

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

    def check_held(self) -> None:
        """Raises ``MemoryIntegrityError`` for a state whose memory has been given away."""
        if self.lease.ended:
            raise MemoryIntegrityError(
                f"the state before chunk {self.chunk} was gone on from or released: its memory is the next state's;"
                " start a new search, or keep the later state"
            )
