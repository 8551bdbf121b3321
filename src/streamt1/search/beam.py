"""Beams and candidates: immutable, sharing their past."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from streamt1.core.protocols import Branch, CodecState
from streamt1.core.types import Chunk, Score


@dataclass(frozen=True, eq=False)
class Beam:
    """A video so far, and the handles needed to continue it.

    Attributes:
        lineage: candidate ids, first chunk first.
        branch: the backbone's memory; the beam owns it until it is released.
        codec: the streaming decoder's state.
    """

    branch: Branch
    codec: CodecState
    chunks: tuple[Chunk, ...] = ()
    lineage: tuple[int, ...] = ()

    @property
    def last(self) -> Chunk | None:
        return self.chunks[-1] if self.chunks else None

    @property
    def scores(self) -> list[Score]:
        """Scores of the chunks that have one, first to last."""
        return [chunk.score for chunk in self.chunks if chunk.score is not None]

    @property
    def frames(self) -> Tensor:
        """The whole video, ``[T, 3, H, W]`` in 0..1."""
        return torch.cat([chunk.frames for chunk in self.chunks])

    @property
    def latents(self) -> Tensor:
        """All latents, ``[F, C, H, W]``."""
        return torch.cat([chunk.latents for chunk in self.chunks])


@dataclass(frozen=True, eq=False)
class Draw:
    """What a candidate will be made of.

    Attributes:
        rank: the parent's rank among the beams, 0 the best.
        index: the chunk's position in the video.
        generator: made from ``seed``; the noise between denoising steps is drawn from it.
        noise: initial noise ``[F, C, H, W]``.
    """

    parent: Beam
    rank: int
    index: int
    seed: int
    generator: torch.Generator
    noise: Tensor


@dataclass(frozen=True, eq=False)
class Candidate:
    """One possible next chunk of a beam.

    Attributes:
        id: counts candidates over the whole run.
        rank: the parent's rank among the beams, 0 the best.
        codec: the decoder's state after this chunk.
    """

    id: int
    parent: Beam
    rank: int
    chunk: Chunk
    codec: CodecState

    @classmethod
    def of(cls, draw: Draw, id: int, latents: Tensor, frames: Tensor, codec: CodecState) -> Candidate:
        """What came of a draw: clean latents ``[F, C, H, W]``, frames ``[T, 3, H, W]``."""
        return cls(id, draw.parent, draw.rank, Chunk(draw.index, draw.seed, draw.noise, latents, frames), codec)

    @property
    def lineage(self) -> tuple[int, ...]:
        """Candidate ids of its ancestors and itself, first chunk first."""
        return (*self.parent.lineage, self.id)

    def judged(self, chunk: Chunk) -> Candidate:
        return replace(self, chunk=chunk)

    def apart(self) -> Candidate:
        """The same in memory of its own; see ``Chunk.apart``."""
        return replace(self, chunk=self.chunk.apart())

    def window(self, chunks: int) -> tuple[Chunk, ...]:
        """The last ``chunks`` chunks, this one included."""
        past = self.parent.chunks[-(chunks - 1) :] if chunks > 1 else ()
        return (*past, self.chunk)

    def grown(self, branch: Branch) -> Beam:
        """The beam that this candidate becomes when it survives."""
        return Beam(branch, self.codec, (*self.parent.chunks, self.chunk), self.lineage)
