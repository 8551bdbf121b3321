"""Given: the first chunks of a video that begins with frames of a picture, or of another video. They are not made.

A chunk that is given is a chunk with one candidate: it is shown, scored and committed as any other, so that windows,
baselines and routes begin with it. Its noise is nobody's choice, and nothing is fused with it.
"""

from __future__ import annotations

from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Branch, Models, Started, StartingBackbone
from streamt1.core.types import Route
from streamt1.search.state import SearchState


def started(models: Models, prompt: str, chunks: int | None, given: Tensor | None) -> Started:
    """An empty memory under a prompt, and the chunks that are given, of clean latents ``[F, C, H, W]``.

    Args:
        chunks: length of the video; None for one without an end.

    Raises:
        ConfigError: the backbone cannot begin with frames, or not with so many, or nothing is left to make.
        PromptError: it cannot use the prompt.
    """
    backbone = models.backbone
    if given is None:
        return Started(backbone.start(prompt))
    if not isinstance(backbone, StartingBackbone):
        raise ConfigError("this model begins videos from text alone; leave the picture or the video out")
    begun = backbone.start_from(prompt, given)
    if chunks is not None and chunks <= len(begun.chunks):
        backbone.release(begun.branch)
        raise ConfigError(f"all {chunks} chunks of the video are given: make it longer, or begin with less")
    return begun


def next_given(state: SearchState) -> Tensor | None:
    """The next chunk, where it is given; ``[F, C, H, W]``."""
    return state.given[state.chunk] if state.chunk < len(state.given) else None


def written(models: Models, state: SearchState, branch: Branch, latents: Tensor, route: Route | None) -> Branch:
    """A branch that remembers the state's next chunk."""
    backbone = models.backbone
    if next_given(state) is not None and isinstance(backbone, StartingBackbone):
        return backbone.give(branch, latents, route)
    return backbone.commit(branch, latents, route)
