"""A branch of a Wan transformer's memory: the prompt, the pages, and what a re-cache reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from streamt1.backbones.wan.model import TextContext
from streamt1.core.types import Route
from streamt1.memory.branch import Branch

Past = tuple[tuple[Tensor, Route | None], ...]
"""Clean latents ``[F, C, H, W]`` and route of each chunk."""


@dataclass(frozen=True, eq=False)
class WanPrompt:
    """A prompt as the transformer reads it.

    Attributes:
        id: of the text's content.
        text: its cross-attention keys and values.
    """

    id: str
    text: TextContext

    def to(self, device: torch.device) -> WanPrompt:
        """The prompt on a device."""
        return WanPrompt(self.id, [(keys.to(device), values.to(device)) for keys, values in self.text])

    def same(self, other: WanPrompt) -> bool:
        """Whether both read the same, to the last bit."""
        pairs = [(a, b) for mine, theirs in zip(self.text, other.text) for a, b in zip(mine, theirs)]
        alike = self.id == other.id and len(self.text) == len(other.text)
        return alike and all(a.device == b.device and a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@dataclass(frozen=True, eq=False)
class WanBranch:
    """A prompt and what is remembered under it. Immutable; see ``memory.Branch``.

    Attributes:
        past: the last chunks, as many as a re-cache may read.
        then: the prompt of the chunks after the next, where that one alone is told more: that a shot begins.
        given: chunks that were not made, but given to begin with.
        held: clean latents ``[F, C, H, W]`` that the next chunk begins with, whatever is made; None where it is free.
    """

    prompt: WanPrompt
    memory: Branch
    past: Past = ()
    then: WanPrompt | None = None
    given: int = 0
    held: Tensor | None = None

    @property
    def made(self) -> int:
        """Chunks that the model has made."""
        return self.memory.chunks - self.given

    @property
    def scene(self) -> str:
        """An identity of the scene's prompt."""
        return (self.then or self.prompt).id
