"""``streamt1`` as a shell starts it: signals are understood before anything large is loaded."""

from __future__ import annotations

import signal

from streamt1.core.stopping import SIGNALS, leave


def main() -> None:
    """The console script."""
    for number in SIGNALS:
        signal.signal(number, leave)
    from streamt1.cli.main import main as run

    run()
