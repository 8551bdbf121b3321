"""The files of a run's folder: their names, how a run stands, and what may be deleted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamt1.core.errors import OutputError
from streamt1.core.files import part_of, write_whole, writing
from streamt1.core.json_text import JsonError, parse_json

VIDEO, SHEET, TRACE, THUMBNAILS, SUMMARY = "video.mp4", "sheet.png", "trace.jsonl", "thumbnails.jsonl", "run.json"
COMPARISON, REPORT = "compare.mp4", "report.html"
GIVEN, LATENTS_KEPT = "given.safetensors", "latents.safetensors"
BASELINE = "baseline"
"""The folder of the plain sample that a run is compared with."""
PARTIAL, CHECKPOINT = "partial.mp4", "checkpoint"
OWN = (TRACE, THUMBNAILS, VIDEO, PARTIAL, SHEET, COMPARISON, REPORT, GIVEN, LATENTS_KEPT, SUMMARY)
"""Files of a run's folder; what says whose they are comes last. ``checkpoint`` and ``baseline`` are folders in it."""
BOUNDARIES, BEGUN, SETTLED = "boundaries.jsonl", "asked.json", "settled.jsonl"
FRAMES, SHOWN, LATENTS = "frames.raw", "shown.raw", "latents.raw"
PACKET = "packet.safetensors"
IN_CHECKPOINT = (BOUNDARIES, SETTLED, FRAMES, SHOWN, LATENTS, PACKET)
"""Files of a checkpoint besides those of its chunks, and ``BEGUN``, which says whose it is and is deleted last."""
CHUNK_FILE = re.compile(r"\.?[0-9]{6,}\.safetensors(\.part)?")
MARK = b"streamt1</title>"
"""What every report has in its first bytes."""
REMEDY = "move it away, or give another folder"


def stored_summary(folder: Path) -> dict[str, Any] | None:
    """The ``run.json`` of a folder; None where there is none. Raises ``OutputError`` for one that is no run's."""
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
    if not isinstance(summary, dict) or not {"prompt", "seed", "config"} <= summary.keys():
        raise OutputError(f"{path} is of no run; {REMEDY}")
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


def check_free(folder: Path) -> None:
    """Raises ``OutputError`` where a run would write over files that are of no run: there is no ``run.json``."""
    named = [folder / name for name in OWN if os.path.lexists(folder / name)]
    for found in [*named, *_of_checkpoint(folder / CHECKPOINT)]:
        raise OutputError(f"{found} is of no run (there is no {SUMMARY} beside it): {REMEDY}")


def clear(folder: Path) -> None:
    """Deletes what the run in a folder has written, its plain sample too, and nothing else; ``run.json`` goes last.

    Raises:
        OutputError: files of no run are in the way of the next, or something cannot be deleted.
    """
    summary = stored_summary(folder)
    if summary is None:
        check_free(folder)
        return
    with writing(folder):
        clear_checkpoint(folder)
        compared = summary.get("compare") is True
        if compared and same_video(summary, stored_summary(folder / BASELINE)):
            clear(folder / BASELINE)
            _remove_empty(folder / BASELINE)
        kept = {COMPARISON} if not compared else set()
        if not is_report(folder / REPORT):
            kept.add(REPORT)
        for name in OWN:
            part_of(folder / name).unlink(missing_ok=True)
            if name not in kept:
                (folder / name).unlink(missing_ok=True)


def same_video(summary: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether two runs asked for the same prompts, seed and length: a search and its plain sample."""
    names = ("prompt", "seed", "chunks", "timeline")
    if other is None:
        return False
    begins = [(one.get("given") or {}).get("source") for one in (summary, other)]
    return begins[0] == begins[1] and all(summary.get(name) == other.get(name) for name in names)


def is_report(path: Path) -> bool:
    """Whether a file is a page that we wrote."""
    try:
        with path.open("rb") as file:
            return MARK in file.read(10_000)
    except OSError:
        return False


def clear_checkpoint(folder: Path) -> None:
    """Deletes a run's checkpoint; what is half deleted is none. Raises ``OSError``."""
    checkpoint = folder / CHECKPOINT
    if has_checkpoint(folder) or (checkpoint / BEGUN).exists():
        for path in [*_of_checkpoint(checkpoint), checkpoint / BEGUN]:
            path.unlink(missing_ok=True)
        _remove_empty(checkpoint)


def tidy(folder: Path) -> None:
    """Deletes what a finished run needs no more, as far as that is possible: nothing depends on it."""
    with suppress(OSError):
        clear_checkpoint(folder)
        for path in (folder / PARTIAL, *(part_of(folder / name) for name in OWN)):
            if path.exists():
                path.unlink()


def _of_checkpoint(checkpoint: Path) -> list[Path]:
    """Files of a checkpoint that are there; the first is the one without which it is none."""
    named = [path for name in IN_CHECKPOINT for path in (checkpoint / name, part_of(checkpoint / name))]
    inside = checkpoint.iterdir() if checkpoint.is_dir() else ()
    return [path for path in named if path.exists()] + [path for path in inside if CHUNK_FILE.fullmatch(path.name)]


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
