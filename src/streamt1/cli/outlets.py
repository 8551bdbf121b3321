"""Standard output and error that cannot end a run: a reader that left is no reason to stop."""

from __future__ import annotations

import io
import sys
from typing import Any


class _Outlet(io.FileIO):
    """A file descriptor that takes everything; what it could not write is dropped.

    Attributes:
        lost: why something was dropped that a reader may still wait for.
    """

    lost: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return len(content)
        except OSError as error:  # as of a full disk
            self.lost = error
            return len(content)


def open_outlets() -> None:
    """Puts both in the place of ``sys.stdout`` and ``sys.stderr``.

    After ``| head`` has read enough, output is dropped and the work goes on. What the terminal cannot show is written
    as an escape.
    """
    sys.stdout, sys.stderr = _outlet(sys.stdout, 1), _outlet(sys.stderr, 2)


def close_outlets() -> str:
    """Writes what is left; returns why output was lost, empty where nothing was."""
    raw: Any = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, _Outlet):
        return ""
    sys.stdout.flush()
    return "" if raw.lost is None else str(raw.lost.strerror or raw.lost)


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
