"""The seams: what the search asks of the world. Anything that satisfies these can be searched over.

Legend: ``N`` candidates, ``F`` latent frames of a chunk, ``T`` pixel frames, ``C H W`` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from streamt1.core.types import RewardOutput, Route

Branch = Any
"""An opaque, immutable handle of a backbone's memory after some chunks."""

CodecState = Any
"""An opaque, immutable handle of what a streaming decoder carries from chunk to chunk."""


Thin = Callable[[int, Sequence[int], Tensor], Sequence[int]]
"""Looks at candidates between denoising steps: (steps done, rows of the candidates that are left, their predicted clean
latents ``[rows, F, C, H, W]``) -> the rows that go on, in rising order."""


class Backbone(Protocol):
    """A streaming video model that writes latents chunk by chunk over a memory of its past."""

    @property
    def chunk_shape(self) -> tuple[int, int, int, int]:
        """``(F, C, H, W)`` of one chunk of latents."""
        ...

    @property
    def passes_per_proposal(self) -> int:
        """Model passes that one candidate costs (its denoising steps)."""
        ...

    def start(self, prompt: str) -> Branch:
        """An empty memory for a prompt. Raises ``PromptError``."""
        ...

    def propose(
        self, parents: Sequence[Branch], noise: Tensor, generators: Sequence[torch.Generator], thin: Thin | None = None
    ) -> Tensor:
        """Denoises ``N`` candidates of the next chunk, each over its parent's memory, which it only reads.

        Args:
            parents: one per candidate, of one prompt and one length; candidates of one parent stand side by side.
            noise: initial noise ``[N, F, C, H, W]``, float32.
            generators: one per candidate; the noise between denoising steps is drawn from it.
            thin: may drop candidates before their last step.

        Returns:
            Clean latents ``[N, F, C, H, W]``, float32, of the candidates that were kept.
        """
        ...

    def commit(self, branch: Branch, latents: Tensor, route: Route | None) -> Branch:
        """Writes a survivor ``[F, C, H, W]`` into memory (the clean context pass: one model pass).

        The parent stays valid. ``route`` travels with the chunk and is applied once, when it leaves the window.
        """
        ...

    def release(self, branch: Branch) -> None:
        """Gives a branch's memory back. The branch must not be used afterwards."""
        ...


class Codec(Protocol):
    """Turns latents into pixels, causally."""

    @property
    def fps(self) -> int:
        """Pixel frames per second."""
        ...

    @property
    def time_stride(self) -> int:
        """Pixel frames per latent frame, after the video's first, which gives one."""
        ...

    def start(self) -> CodecState:
        """The state before the first chunk."""
        ...

    def decode(self, states: Sequence[CodecState], latents: Tensor) -> tuple[Tensor, list[CodecState]]:
        """Decodes ``N`` candidates' own chunks, each from its parent's state, which stays valid.

        Args:
            states: one per candidate, after videos of one length.
            latents: ``[N, F, C, H, W]``.

        Returns:
            Frames ``[N, T, 3, H, W]`` in 0..1, and the ``N`` states after them.
        """
        ...


class FrameReward(Protocol):
    """Short-term reward: looks at single frames (HPSv3 in the paper)."""

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        """Frames ``[N, T, 3, H, W]`` in 0..1 of ``N`` candidates -> mean over each one's frames, ``[N]``."""
        ...


class ClipReward(Protocol):
    """Long-term reward: looks at a clip (VideoReward in the paper)."""

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """Clips ``[N, T, 3, H, W]`` in 0..1, shown at ``fps`` -> ``[N]``."""
        ...
