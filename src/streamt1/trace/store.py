"""A trace on disk: one JSON object a line, each an event and the seconds since the run began; pictures beside it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from streamt1.core.errors import TraceError
from streamt1.core.files import write_whole
from streamt1.core.json_text import parse_json
from streamt1.trace.events import Event
from streamt1.trace.records import event_from_record


class Stamped(NamedTuple):
    """An event and when it happened, in seconds since the run began."""

    seconds: float
    event: Event


def trace_record(stamped: Stamped) -> dict[str, Any]:
    """A line of a trace."""
    return {"seconds": stamped.seconds, **stamped.event.record()}


def thumbnail_record(candidate: int, picture: bytes) -> dict[str, Any]:
    """A line of a file of pictures."""
    return {"candidate": candidate, "webp": base64.b64encode(picture).decode()}


def write_trace(path: Path, trace: Iterable[Stamped]) -> None:
    """Writes a trace as JSON lines. Raises ``OutputError``."""
    lines = (json.dumps(trace_record(stamped), allow_nan=False) for stamped in trace)
    write_whole(path, "".join(line + "\n" for line in lines).encode())


def read_trace(path: Path) -> list[Stamped]:
    """Reads what :func:`write_trace` wrote.

    Raises:
        TraceError: the file is not there or cannot be read, or a line holds no event; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TraceError(f"cannot read the trace {path}: {reason}") from error
    lines = lines[:-1] if lines[-1] == "" else lines
    return [_stamped(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def write_thumbnails(path: Path, pictures: Mapping[int, bytes]) -> None:
    """Writes WebP pictures by candidate id. Raises ``OutputError``."""
    lines = (json.dumps(thumbnail_record(*pair)) for pair in pictures.items())
    write_whole(path, "".join(line + "\n" for line in lines).encode())


def read_thumbnails(path: Path) -> dict[int, bytes]:
    """Reads what :func:`write_thumbnails` wrote; a run without the file has no pictures.

    Raises:
        TraceError: the file cannot be read, or a line of it holds no picture.
    """
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return dict(_picture(parse_json(line)) for line in lines)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TraceError(f"cannot read the thumbnails {path}: {reason}") from error


def _picture(record: Any) -> tuple[int, bytes]:
    candidate = record["candidate"]
    if type(candidate) is not int:
        raise TypeError("a candidate's number is missing")
    return candidate, base64.b64decode(record["webp"], validate=True)


def _stamped(line: str, where: str) -> Stamped:
    try:
        record = parse_json(line)
        return Stamped(_seconds(record["seconds"]), event_from_record(record))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise TraceError(f"{where}: not an event of a trace: {line.strip()[:60]!r}") from error


def _seconds(value: Any) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("a time is a finite number")
    return float(value)
