"""What stays of a video that was cancelled: as much of it as is decided, as a file that plays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.error import FFmpegError

from streamt1.core.errors import ConfigError, OutputError
from streamt1.core.files import write_whole
from streamt1.core.json_text import JsonError, parse_json
from streamt1.core.timeline import Scene
from streamt1.media.boxes import boxes_in
from streamt1.media.growing import is_video, remuxed
from streamt1.media.thumbnails import small
from streamt1.pipeline.run_files import PARTIAL, REPORT, TRACE, VIDEO, is_finished, stored_summary
from streamt1.server.tape import Tape
from streamt1.trace.events import SceneStarted

THUMBNAIL = "thumbnail.webp"
THUMBNAIL_SIDE = 256


class Made(NamedTuple):
    """What there is of a cancelled video."""

    chunks: int
    seconds: float


def keep_made(folder: Path) -> Made | None:
    """The part of a run's video that is final becomes its video, and it has no report.

    What only a run needs that goes on is left for ``tidy``, once all this is noted: until then it can be done again.
    Where nothing is final, the folder goes.

    Returns None where an earlier version did all this, and deleted what says how many chunks there are; where that is
    damaged, too.
    Raises ``OutputError``.
    """
    partial, video = folder / PARTIAL, folder / VIDEO
    if is_video(partial):
        chunks = sum(name == "moof" for name, _ in boxes_in(partial.read_bytes()))
        remuxed(partial, video)
    elif not video.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return Made(0, 0.0)
    else:  # it was cancelled when its video was whole, and perhaps not yet its report
        summary = stored_summary(folder)
        outcome = summary.get("outcome") if summary is not None and is_finished(summary) else None
        lineage = outcome.get("lineage") if isinstance(outcome, dict) else None
        if not isinstance(lineage, list):
            return None
        chunks = len(lineage)
    (folder / REPORT).unlink(missing_ok=True)
    return Made(chunks, _drawn(folder))


def _drawn(folder: Path) -> float:
    """Draws the thumbnail of a folder's video. Its seconds. Raises ``OutputError``."""
    video = folder / VIDEO
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            frames, rate = stream.frames, stream.average_rate
            for place, frame in enumerate(container.decode(stream)):
                if place == frames // 2:
                    write_whole(folder / THUMBNAIL, small(frame.to_image(), THUMBNAIL_SIDE))
                    break
    except FFmpegError as error:
        raise OutputError(f"cannot read {video}: {error.strerror}") from error
    return frames / float(rate or 1)


def begun_scenes(folder: Path, tape: Path) -> tuple[tuple[int, Scene], ...]:
    """Scenes that were said to a stream, each with its first chunk: by its tape, which knows the last of them, or by
    the trace in its folder where there is no tape any more. Lines that are damaged are passed over. Raises
    ``OSError``."""
    scenes = list[tuple[int, Scene]]()
    for record in _of_tape(tape) if tape.is_file() else _of_trace(folder / TRACE):
        with suppress(KeyError, TypeError, ConfigError):
            if record["event"] == SceneStarted.kind:
                scenes.append((record["chunk"], Scene(record["prompt"], None, record.get("memory"))))
    return tuple(scenes)


def _of_tape(path: Path) -> Iterator[Any]:
    return (message for message, _ in Tape(path).records())


def _of_trace(path: Path) -> Iterator[Any]:
    mark = SceneStarted.kind.encode()
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if mark in line:  # there are few, among many thousands
                with suppress(JsonError):
                    yield parse_json(line)
