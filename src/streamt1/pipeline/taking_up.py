"""Whether a run's folder can be gone on with, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamt1.core.errors import OutputError, warn
from streamt1.core.json_text import JsonError, parse_json
from streamt1.core.words import counted
from streamt1.media.growing import is_video
from streamt1.pipeline.asked import ANEW, Asked, changed
from streamt1.pipeline.checkpoints import Stored, boundary_of, run_of, stored_boundaries
from streamt1.pipeline.run_files import (
    BEGUN,
    BOUNDARIES,
    CHECKPOINT,
    COMPARISON,
    PARTIAL,
    SUMMARY,
    VIDEO,
    has_checkpoint,
    is_finished,
)


def check_unfinished(path: Path, asked: Asked, summary: Mapping[str, Any], again: bool) -> None:
    """Raises ``OutputError`` where a run cannot be taken up: it is another, has finished, or was changed since."""
    different = asked.difference(summary)
    if different is not None:
        raise OutputError(f"{path} holds another run ({different}); give another folder, or {ANEW}")
    if is_finished(summary) and not ((again or not (path / VIDEO).exists()) and has_checkpoint(path)):
        wanted = (VIDEO, COMPARISON) if summary.get("compare") is True else (VIDEO,)
        missing = [name for name in wanted if not (path / name).exists()]
        lost = f", but {missing[0]} is missing" if missing else ""
        raise OutputError(f"{path} holds this run, finished{lost}; to {ANEW}")
    begun = _begun(path / CHECKPOINT / BEGUN)
    different = None if begun is None else asked.difference(begun)
    if different is not None:
        raise OutputError(f"{path / SUMMARY} was changed since the run began ({different}); change it back, or {ANEW}")


def taken_up(path: Path, run: str, packed: int | None = None) -> tuple[list[Stored], str]:
    """The boundaries to go on from, and whose they are. Warns of those that are lost.

    Args:
        packed: chunks that were decided when a packet was made, which needs no boundary but that one.

    Raises:
        OutputError: all are, and a part of the video is there that would be lost with them.
    """
    begun = _begun(path / CHECKPOINT / BEGUN)
    known = run if begun is None else run_of(begun)
    stored, damaged = stored_boundaries(path / CHECKPOINT, path, known)
    if packed is not None and damaged and len(stored) < packed:
        at = boundary_of(path / CHECKPOINT, path, known, packed)
        if at is not None:
            warn(f"{path}: {damaged} is damaged or missing; the run goes on from the packet, and later needs one again")
            return [at], known
    if not stored and is_video(path / PARTIAL):
        what = damaged or BOUNDARIES
        raise OutputError(
            f"{path} cannot be gone on with: {what} is damaged or missing. Give a packet of the run, if there is one"
            f" (resume --packet). What was made is in {path / PARTIAL}: keep it elsewhere, then {ANEW}"
        )
    if damaged:
        told = counted(len(stored), "chunk")
        warn(f"{path}: {damaged} is damaged or missing; the run goes on after {told}, and makes again what followed")
    return (stored, known) if stored else ([], run)


def _begun(path: Path) -> dict[str, Any] | None:
    """What was asked for when a checkpoint was begun; None where that is not known: it goes with the first chunk."""
    try:
        told = parse_json(path.read_bytes())
    except (OSError, JsonError):
        return None
    return told if isinstance(told, dict) else None


def before_now(path: Path, summary: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` goes on saying of the circumstances of earlier parts of a run. Warns where they differ."""
    told = summary.get("before")
    earlier = list(told) if isinstance(told, list) else []
    differences = changed(summary, now)
    if differences:
        warn(f"{path} goes on under other circumstances ({'; '.join(differences)}): its last bits may differ")
        earlier.append({name: summary.get(name) for name in now})
    return {"before": earlier} if earlier else {}
