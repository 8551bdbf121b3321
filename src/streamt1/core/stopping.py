"""Ending work in order when the system asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, Protocol

from streamt1.core.errors import Cancelled

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SIGNALLED = 128
"""A process that a signal ended has this exit code plus the signal's number."""
_IMPORTS = "<frozen importlib._bootstrap>"


_before = list[Callable[[], None]]()


@contextmanager
def before_leaving(work: Callable[[], None]) -> Iterator[None]:
    """Inside, ``leave`` does this first, such as ending processes that would outlive this one."""
    _before.append(work)
    try:
        yield
    finally:
        _before.remove(work)


def leave(number: int, frame: FrameType | None = None) -> NoReturn:
    """A signal's handler: ends the process at once, with one line and the signal's exit code."""
    del frame
    os.write(2, f"ended by {signal.Signals(number).name}\n".encode())
    try:
        for work in reversed(_before):
            work()
    finally:
        os._exit(SIGNALLED + number)


def importing(frame: FrameType | None) -> bool:
    """Whether a module is being loaded: what is raised there is swallowed, or told as another error."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, Ctrl-C raises ``KeyboardInterrupt``, so that work can be cleaned up, but never out of an import.

    Outside, where ``leave`` is the handler, it ends the process at once. Other handlers stay as they are.
    """
    if signal.getsignal(signal.SIGINT) is not leave:
        yield
        return
    signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, leave)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if importing(frame):
        leave(number, frame)
    raise KeyboardInterrupt


class Stop:
    """Whether work is to end. It ends at once, or, where it is held, when whoever holds it looks.

    Attributes:
        signal: the number of the signal that came; None while none has.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._held = 0

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """A signal's handler. A second signal ends even what is held. Raises ``Cancelled``."""
        if importing(frame) and not self._held:
            leave(number)
        again, self.signal = self.signal is not None, number
        if again or not self._held:
            raise Cancelled(f"stopped by {self.name}; the same command goes on from the last checkpoint, if any")

    @property
    def name(self) -> str:
        """The signal's name."""
        return "nothing" if self.signal is None else signal.Signals(self.signal).name

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, a first signal is only noted."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1


class Signalled(Protocol):
    """Who is told of a signal."""

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """A signal's handler."""
        ...


@contextmanager
def on_signals(stop: Signalled) -> Iterator[None]:
    """SIGTERM and SIGINT ask ``stop`` inside the block."""
    before = [(number, signal.signal(number, stop.ask)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
