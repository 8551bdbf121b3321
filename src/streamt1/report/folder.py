"""The folder of a run, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamt1.core.errors import TraceError
from streamt1.core.json_text import parse_json
from streamt1.report.story import Story, tell
from streamt1.trace.store import read_thumbnails, read_trace


@dataclass(frozen=True)
class RunFolder:
    """What a run left on disk.

    Attributes:
        summary: ``run.json``, empty where it is missing.
        thumbnails: pictures by candidate id; empty for runs that stored none.
        video: None where the file is missing.
        baseline: the run of the same prompt, seed and length to compare with, None where there is none.
    """

    story: Story
    summary: Mapping[str, Any]
    thumbnails: Mapping[int, bytes]
    video: Path | None
    baseline: RunFolder | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video, as far as they are known; a square otherwise."""
        size = self.summary.get("size") or {}
        return int(size.get("width", 64)), int(size.get("height", 64))

    @property
    def policy(self) -> str:
        """The name of the policy, empty where it is not known."""
        return str((self.summary.get("config") or {}).get("policy", ""))


def read_folder(folder: Path) -> RunFolder:
    """Reads a run's folder, and the baseline's in it.

    Raises:
        TraceError: the folder or its trace is not there, is damaged, or tells of a run that has not finished.
    """
    if not folder.is_dir():
        raise TraceError(f"there is no folder {folder}: give the folder of a finished run")
    if not (folder / "trace.jsonl").is_file():
        raise TraceError(f"{folder} is not the folder of a run: it has no trace.jsonl")
    try:
        story = tell(read_trace(folder / "trace.jsonl"))
    except TraceError as error:
        raise TraceError(f"{folder}: {error}") from error
    return RunFolder(
        story,
        _summary(folder / "run.json"),
        read_thumbnails(folder / "thumbnails.jsonl"),
        _there(folder / "video.mp4"),
        _baseline(folder / "baseline", story),
    )


def _baseline(folder: Path, story: Story) -> RunFolder | None:
    """The plain sample beside a run; None where there is none, or one that an earlier run of other words left there."""
    if not (folder / "trace.jsonl").is_file():
        return None
    plain = read_folder(folder)
    same = all(
        getattr(plain.story.started, name) == getattr(story.started, name) for name in ("prompt", "seed", "chunks")
    )
    return plain if same and plain.story.beginnings == story.beginnings else None


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _summary(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        summary = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TraceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(summary, dict):
        raise TraceError(f"cannot read {path}: it does not hold keys and values")
    return summary
