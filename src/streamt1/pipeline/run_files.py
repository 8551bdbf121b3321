"""The files of a run's folder: their names, how a run stands, and what may be deleted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamt1.core.errors import OutputError
from streamt1.core.files import write_whole
from streamt1.core.json_text import JsonError, parse_json

VIDEO, SHEET, TRACE, THUMBNAILS, SUMMARY = "video.mp4", "sheet.png", "trace.jsonl", "thumbnails.jsonl", "run.json"
COMPARISON, REPORT = "compare.mp4", "report.html"
BASELINE = "baseline"
"""The folder of the plain sample that a run is compared with."""
PARTIAL, CHECKPOINT = "partial.mp4", "checkpoint"
OWN = (SUMMARY, TRACE, THUMBNAILS, VIDEO, PARTIAL, SHEET, COMPARISON, REPORT)
"""Files of a run's folder; ``checkpoint`` and ``baseline`` are folders in it."""


def stored_summary(folder: Path) -> dict[str, Any] | None:
    """The ``run.json`` of a folder; None where there is none. Raises ``OutputError`` for one that cannot be read."""
    path = folder / SUMMARY
    try:
        summary = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, JsonError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"cannot read {path}: {reason}; delete the folder, or give another one") from error
    if not isinstance(summary, dict):
        raise OutputError(f"{path} holds no run; delete the folder, or give another one")
    return summary


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Writes ``run.json``; it is on the disk when this returns. Raises ``OutputError``."""
    write_whole(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode(), durable=True)


def is_finished(summary: Mapping[str, Any]) -> bool:
    """Whether a run has come to its end. Before 0.3 only those that had were written."""
    return summary.get("state", "finished") == "finished"


def occupied(folder: Path) -> bool:
    """Whether a run has left anything in a folder."""
    return any((folder / name).exists() for name in (*OWN, CHECKPOINT))


def clear(folder: Path) -> None:
    """Deletes what a run has left in a folder, its baseline too, and nothing else. Raises ``OutputError``."""
    try:
        for name in OWN:
            (folder / name).unlink(missing_ok=True)
        for part in (folder / CHECKPOINT, folder / BASELINE):
            if part.is_dir():
                shutil.rmtree(part)
    except OSError as error:
        raise OutputError(f"cannot clear {folder}: {error.strerror or error}") from error


def tidy(folder: Path) -> None:
    """Deletes what a finished run needs no more, at once: what is half deleted is not taken for a checkpoint."""
    gone = folder / f".{CHECKPOINT}"
    if (folder / CHECKPOINT).is_dir() and not gone.exists():
        (folder / CHECKPOINT).rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
    (folder / PARTIAL).unlink(missing_ok=True)
