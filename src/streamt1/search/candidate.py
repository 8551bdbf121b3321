"""What a chunk is made of, before and after it is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from streamt1.core.protocols import Branch, DecoderState
from streamt1.core.remote import Frames
from streamt1.core.types import Chunk, Score
from streamt1.core.words import nth

Scored = tuple[float, dict[str, float]]
"""A reward's score and its named parts."""


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
        fresh: noise between the denoising steps, ``[draws, F, C, H, W]``; none where the backbone draws it.
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
        said: waits for what the frame reward says of the chunk, and the clip reward of the window; None where they have
            not been asked.
    """

    id: int
    parent: Beam
    rank: int
    chunk: Chunk
    decoder_state: DecoderState
    fault: str | None = None
    said: Callable[[], tuple[Scored, Scored]] | None = None

    @classmethod
    def of(
        cls, draw: Draw, id: int, latents: Tensor, frames: Frames, decoder_state: DecoderState, fault: str | None
    ) -> Candidate:
        """What came of a draw: clean latents ``[F, C, H, W]``, frames ``[T, 3, H, W]``."""
        chunk = Chunk(draw.index, draw.seed, draw.noise, latents, frames)
        return cls(id, draw.parent, draw.rank, chunk, decoder_state, fault)

    @property
    def lineage(self) -> tuple[int, ...]:
        """Candidate ids of its ancestors and itself, first chunk first."""
        return (*self.parent.lineage, self.id)

    @property
    def name(self) -> str:
        """For people."""
        return f"chunk {nth(self.chunk.index)}: candidate {self.id}"

    def with_chunk(self, chunk: Chunk) -> Candidate:
        return replace(self, chunk=chunk)

    def window(self, chunks: int) -> tuple[Chunk, ...]:
        """The last ``chunks`` chunks, this one included."""
        return (*self.parent.window(chunks - 1), self.chunk)

    def grown(self, branch: Branch) -> Beam:
        """The beam that this candidate becomes when it survives."""
        chunks = (*self.parent.chunks, self.chunk)
        return Beam(branch, self.decoder_state, chunks, self.lineage, self.parent.before)
