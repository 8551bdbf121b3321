"""The nouns of the method: a chunk, its score, and its route.

Shape legend, used everywhere: ``N`` candidates, ``F`` latent frames, ``T`` pixel frames, ``C`` channels, ``H W`` height
and width, ``L`` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

from torch import Tensor

from streamt1.core.remote import Frames, here

Fit = Literal["cover", "stretch"]
"""How a picture of another shape becomes one of the model's: its edges are cut off, or it is stretched."""


class Route(str, Enum):
    """What becomes of a chunk when it leaves the local window (paper section 3.4)."""

    DISCARD = "discard"
    EMA = "ema"
    APPEND = "append"


@dataclass(frozen=True)
class Remembered:
    """What a branch of memory holds, see ``Backbone.inspect``; chunks are named by their index in the video.

    Attributes:
        sinks, window: chunks that the next chunk will read, oldest slot first.
        left: the chunk that the last commit pushed out of the window, if any.
        route, outcome: the label that it carried, and what was done with it.
        slot: the place in ``sinks`` that it went to, None where it was dropped.
        recalled: the chunk among ``sinks`` that is read again, or read on, since its scene is back.
    """

    sinks: tuple[int, ...]
    window: tuple[int, ...]
    left: int | None = None
    route: Route | None = None
    outcome: Route | None = None
    slot: int | None = None
    recalled: int | None = None


@dataclass(frozen=True)
class Score:
    """The rewards of one candidate (paper section 3.3). All in the reward's own units; higher is better.

    Attributes:
        short: frame reward, mean over the chunk's pixel frames.
        long: clip reward of the sliding window that ends with this chunk.
        fused: what candidates are ranked by, ``a * short + (1 - a) * long``.
        parts: named components of both rewards, such as ``{"long/vq": 0.3}``.
    """

    short: float
    long: float
    fused: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RewardOutput:
    """What a reward says of ``N`` clips.

    Attributes:
        score: ``[N]``, higher is better.
        components: named parts of the score, each ``[N]``.
    """

    score: Tensor
    components: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Chunk:
    """One chunk of one candidate. Immutable; beams that share a past share these objects.

    Attributes:
        index: position in the video, counted in chunks.
        seed: seed of the generator that made it.
        noise: initial noise ``[F, C, H, W]``, float32; the next chunk's noise propagates from it (section 3.2).
        latents: clean latents ``[F, C, H, W]``.
        frames: decoded pixels ``[T, 3, H, W]``, floats in 0..1 or uint8 in 0..255, as the decoder made them; before the
            chunk has settled perhaps elsewhere, see ``core.remote``.
        score: None where the policy does not score chunks.
        route: None for chunk 0, which is the first sink, and where chunks are not scored.
    """

    index: int
    seed: int
    noise: Tensor
    latents: Tensor
    frames: Frames
    score: Score | None = None
    route: Route | None = None

    def apart(self) -> Chunk:
        """The same chunk in memory of its own (its noise is), so that those it was decoded with can be freed."""
        frames = self.frames.clone() if isinstance(self.frames, Tensor) else self.frames
        return replace(self, latents=self.latents.clone(), frames=frames)

    def near(self) -> Chunk:
        """The same chunk, its frames here."""
        return self if isinstance(self.frames, Tensor) else replace(self, frames=here(self.frames))

    def scored(self, score: Score, route: Route | None) -> Chunk:
        """The same chunk, with its score and route."""
        return replace(self, score=score, route=route)
