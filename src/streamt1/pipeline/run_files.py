"""The files of a run's folder: their names, how a run stands, and what may be deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamt1.core.errors import OutputError
from streamt1.core.files import part_of, remove_probe, write_whole, writing
from streamt1.core.json_text import JsonError, parse_json

VIDEO, SHEET, TRACE, THUMBNAILS, SUMMARY = "video.mp4", "sheet.png", "trace.jsonl", "thumbnails.jsonl", "run.json"
COMPARISON, REPORT = "compare.mp4", "report.html"
BASELINE = "baseline"
"""The folder of the plain sample that a run is compared with."""
PARTIAL, CHECKPOINT = "partial.mp4", "checkpoint"
OWN = (TRACE, THUMBNAILS, VIDEO, PARTIAL, SHEET, COMPARISON, REPORT, SUMMARY)
"""Files of a run's folder; what says whose they are comes last. ``checkpoint`` and ``baseline`` are folders in it."""
BOUNDARIES, BEGUN, SETTLED = "boundaries.jsonl", "asked.json", "settled.jsonl"
FRAMES, SHOWN, LATENTS = "frames.raw", "shown.raw", "latents.raw"
IN_CHECKPOINT = (BOUNDARIES, BEGUN, SETTLED, FRAMES, SHOWN, LATENTS)
"""Files of a checkpoint besides those of its chunks; without the first of them it is none."""
REMEDY = "move it away, or give another folder"


def stored_summary(folder: Path) -> dict[str, Any] | None:
    """The ``run.json`` of a folder; None where there is none. Raises ``OutputError`` for one that cannot be read."""
    path = folder / SUMMARY
    try:
        summary = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise OutputError(f"{folder} is a file, not a folder: {REMEDY}") from error
    except (OSError, JsonError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"cannot read {path}: {reason}; {REMEDY}") from error
    if not isinstance(summary, dict):
        raise OutputError(f"{path} holds no run; {REMEDY}")
    return summary


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Writes ``run.json``; it is on the disk when this returns. Raises ``OutputError``."""
    write_whole(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode(), durable=True)


def is_finished(summary: Mapping[str, Any]) -> bool:
    """Whether a run has come to its end. Before 0.3 only those that had were written."""
    return summary.get("state", "finished") == "finished"


def has_checkpoint(folder: Path) -> bool:
    """Whether a run was begun there that can be gone on with."""
    return (folder / CHECKPOINT / BOUNDARIES).exists()


def in_the_way(folder: Path) -> Path | None:
    """What a folder without a run holds under a name that a run writes to; None where a run can begin."""
    named = (folder / name for name in OWN)
    return next((path for path in (*named, *_of_checkpoint(folder / CHECKPOINT)) if path.exists()), None)


def check_free(folder: Path) -> None:
    """Raises ``OutputError`` where a run would write over files that are of no run: there is no ``run.json``."""
    found = in_the_way(folder)
    if found is not None:
        raise OutputError(f"{found} is of no run (there is no {SUMMARY} beside it): {REMEDY}")


def clear(folder: Path) -> None:
    """Deletes what a run has left in its folder, its baseline too, and nothing else; ``run.json`` goes last.

    A folder without ``run.json`` is no run's: nothing of it is deleted. Raises ``OutputError``.
    """
    if not (folder / SUMMARY).is_file():
        check_free(folder)
        return
    with writing(folder):
        clear_checkpoint(folder)
        if (folder / BASELINE / SUMMARY).is_file():
            clear(folder / BASELINE)
            _remove_empty(folder / BASELINE)
        for name in OWN:
            for path in (folder / name, part_of(folder / name)):
                path.unlink(missing_ok=True)


def clear_checkpoint(folder: Path) -> None:
    """Deletes a checkpoint; what is half deleted is none. Raises ``OSError``."""
    checkpoint = folder / CHECKPOINT
    for path in _of_checkpoint(checkpoint):
        path.unlink(missing_ok=True)
    _remove_empty(checkpoint)


def tidy(folder: Path) -> None:
    """Deletes what a finished run needs no more, as far as that is possible: nothing depends on it."""
    with suppress(OSError):
        clear_checkpoint(folder)
        for path in (folder / PARTIAL, *(part_of(folder / name) for name in OWN)):
            if path.exists():
                path.unlink()
        remove_probe(folder)


def _of_checkpoint(checkpoint: Path) -> Iterator[Path]:
    """Files of a checkpoint that are there; the first is the one without which it is none."""
    for name in IN_CHECKPOINT:
        yield from (path for path in (checkpoint / name, part_of(checkpoint / name)) if path.exists())
    for pattern in ("[0-9]*.safetensors", ".[0-9]*.safetensors.part"):
        yield from checkpoint.glob(pattern)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
