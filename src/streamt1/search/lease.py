"""Who owns the memory of beams, and how it is given back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from streamt1.core.protocols import Branch, Models


class HasBranch(Protocol):
    """A beam, as far as its memory goes."""

    @property
    def branch(self) -> Branch:
        """None where it has no memory."""
        ...


@dataclass(eq=False)
class Lease:
    """Who owns the memory of a state's beams: the state, until it has given it back or to the next one. Mutable."""

    ended: bool = False


def release(models: Models, beams: Iterable[HasBranch]) -> None:
    """Gives back the memory of beams that have any."""
    for beam in beams:
        if beam.branch is not None:
            models.backbone.release(beam.branch)
