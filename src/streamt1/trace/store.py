"""A trace on disk: one JSON object a line, each an event and the seconds since the run began."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from streamt1.core.errors import TraceError
from streamt1.core.files import write_whole
from streamt1.trace.events import Event, event_from_record


class Stamped(NamedTuple):
    """An event and when it happened, in seconds since the run began."""

    seconds: float
    event: Event


class Recorder:
    """Keeps every event of a run, with its time. Call it as an ``Emit``."""

    def __init__(self) -> None:
        self._begin = perf_counter()
        self.stamped: list[Stamped] = []

    def __call__(self, event: Event) -> None:
        self.stamped.append(Stamped(round(perf_counter() - self._begin, 4), event))


def write_trace(path: Path, trace: Iterable[Stamped]) -> None:
    """Writes a trace as JSON lines. Raises ``OutputError``."""
    lines = (json.dumps({"seconds": seconds, **event.record()}, allow_nan=False) for seconds, event in trace)
    write_whole(path, "".join(line + "\n" for line in lines).encode())


def read_trace(path: Path) -> list[Stamped]:
    """Reads what :func:`write_trace` wrote.

    Raises:
        TraceError: the file is not there or cannot be read, or a line holds no event; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TraceError(f"cannot read the trace {path}: {reason}") from error
    return [_stamped(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def _stamped(line: str, where: str) -> Stamped:
    try:
        record = json.loads(line)
        return Stamped(float(record["seconds"]), event_from_record(record))
    except (ValueError, TypeError, KeyError) as error:
        raise TraceError(f"{where}: not an event of a trace: {line.strip()[:60]!r}") from error
