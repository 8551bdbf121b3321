"""Given: the first chunks of a video that begins with frames of a picture, or of another video. They are not made.

A chunk that is given is a chunk with one candidate: it is shown, scored and committed as any other, so that windows,
baselines and routes begin with it. Its noise is nobody's choice, and nothing is fused with it.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Branch, Models, Started, StartingBackbone
from streamt1.core.timeline import Timeline
from streamt1.core.types import Route
from streamt1.search.state import SearchState


def started(models: Models, prompt: str, given: Tensor | None) -> Started:
    """An empty memory under a prompt, and the chunks that are given, of clean latents ``[F, C, H, W]``.

    Raises ``ConfigError`` for a backbone that cannot begin with frames, or not with so many; ``PromptError``.
    """
    backbone = models.backbone
    if given is None:
        return Started(backbone.start(prompt))
    if not isinstance(backbone, StartingBackbone):
        raise ConfigError("this model begins videos from text alone; leave the picture or the video out")
    return backbone.start_from(prompt, given)


def lengthened(timeline: Timeline, chunks: int) -> Timeline:
    """The timeline whose first scene begins with so many chunks more."""
    first, *later = timeline.scenes
    longer = None if first.chunks is None else first.chunks + chunks
    return replace(timeline, scenes=(replace(first, chunks=longer), *later))


def next_given(state: SearchState) -> Tensor | None:
    """The next chunk, where it is given; ``[F, C, H, W]``."""
    return state.given[state.chunk] if state.chunk < len(state.given) else None


def written(models: Models, state: SearchState, branch: Branch, latents: Tensor, route: Route | None) -> Branch:
    """A branch that remembers the state's next chunk."""
    backbone = models.backbone
    if next_given(state) is not None and isinstance(backbone, StartingBackbone):
        return backbone.give(branch, latents, route)
    return backbone.commit(branch, latents, route)
