"""Ctrl-C and SIGTERM: a run ends in order, and the same signal again ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

from streamt1.core.errors import Stopped
from streamt1.core.stopping import SIGNALLED, leave, on_signals
from streamt1.search.watcher import Watcher
from streamt1.trace.events import Event

if TYPE_CHECKING:
    from streamt1.core.remote import Frames


class Stopping(Watcher):
    """Raises ``Stopped`` in the run that it watches once a signal has come.

    What is written after the last chunk is written to its end. Made by ``stopping``.

    Attributes:
        received: the signal; None as long as there is none.
        running: whether a run is there to be ended; before, nothing is made, and a signal ends the process.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.running = False

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return SIGNALLED + (self.received or signal.SIGINT)

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """The handler of the signals."""
        again, self.received = self.received is not None, signal.Signals(number)
        if again or not self.running:
            leave(number, frame)
        typer.echo(f"{self.received.name}: ending in order; once more to end at once", err=True)

    def happened(self, event: Event) -> None:
        self._check()

    def proposed(self, candidate: int, frames: Frames) -> None:
        self._check()

    def _check(self) -> None:
        if self.received is not None:
            raise Stopped(f"ended by {self.received.name}")


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Catches the signals until the block ends. ``Stopped`` leaves it as the exit code of the signal."""
    watcher = Stopping()
    try:
        with on_signals(watcher):
            yield watcher
    except Stopped as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(watcher.exit_code) from error
