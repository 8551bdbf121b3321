"""``streamt1`` as a shell starts it: signals are understood before anything large is loaded."""

from __future__ import annotations

import signal
from types import FrameType

from streamt1.core.stopping import SIGNALS, importing, leave


def main() -> None:
    """The console script."""
    for number in SIGNALS:
        signal.signal(number, leave)
    from streamt1.cli.main import main as run

    signal.signal(signal.SIGINT, interrupted)
    run()


def interrupted(number: int, frame: FrameType | None) -> None:
    """Ctrl-C, where a command has no better use for it. Raises ``KeyboardInterrupt``, but never out of an import."""
    if importing(frame):
        leave(number, frame)
    raise KeyboardInterrupt
