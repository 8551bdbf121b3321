"""Standard output and error that cannot end a run: a reader that left is no reason to stop."""

from __future__ import annotations

import io
import sys
from typing import Any


class _Outlet(io.FileIO):
    """A file descriptor; what nobody reads any more is dropped."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return len(content)


def open_outlets() -> None:
    """Puts both in the place of ``sys.stdout`` and ``sys.stderr``.

    After ``| head`` has read enough, output is dropped and the work goes on. What the terminal cannot show is written
    as an escape.
    """
    sys.stdout, sys.stderr = _outlet(sys.stdout, 1), _outlet(sys.stderr, 2)


def _outlet(stream: Any, place: int) -> Any:
    try:
        if stream is None or stream.fileno() != place:
            return stream
        stream.flush()
        raw = _Outlet(place, "w", closefd=False)
    except (OSError, ValueError):  # closed, or no file at all
        return stream
    alive = stream.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=alive or place == 2
    )
