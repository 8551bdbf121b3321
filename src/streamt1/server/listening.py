"""Whoever hears of a job while it runs. Called from the worker's thread."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from streamt1.server.jobs import Job
from streamt1.trace.events import Event


class Listener(Protocol):
    """Hears of one job. It may raise ``Cancelled`` to end it."""

    def happened(self, event: Event) -> None:
        """Something was decided."""
        ...

    def pictured(self, candidate: int, picture: bytes) -> None:
        """A candidate's thumbnail (WebP)."""
        ...

    def settled(self, chunk: int, frames: Tensor) -> None:
        """A chunk is final: frames ``[T, 3, H, W]`` in 0..1."""
        ...

    def ended(self, job: Job) -> None:
        """The job is completed or failed; nothing follows."""
        ...


class Nobody:
    """The listener of a job that nobody listens to."""

    def happened(self, event: Event) -> None:
        return None

    def pictured(self, candidate: int, picture: bytes) -> None:
        return None

    def settled(self, chunk: int, frames: Tensor) -> None:
        return None

    def ended(self, job: Job) -> None:
        return None
