"""What stays of a video that was cancelled: as much of it as is decided, as a file that plays."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
from av.error import FFmpegError

from streamt1.core.errors import OutputError
from streamt1.core.files import write_whole
from streamt1.media.boxes import boxes_in
from streamt1.media.growing import is_video, remuxed
from streamt1.media.thumbnails import small
from streamt1.pipeline.run_files import PARTIAL, VIDEO, tidy

THUMBNAIL = "thumbnail.webp"
THUMBNAIL_SIDE = 256


def keep_made(folder: Path) -> tuple[int, float] | None:
    """The part of a run's video that is final becomes its video; what only a run needs that goes on is deleted.

    Returns its chunks and its seconds; None where it is done already. Where nothing is final, both are 0 and the folder
    goes.
    Raises ``OutputError``.
    """
    partial, video = folder / PARTIAL, folder / VIDEO
    if video.is_file() and not partial.exists():
        return None
    if not is_video(partial):
        shutil.rmtree(folder, ignore_errors=True)
        return 0, 0.0
    chunks = sum(name == "moof" for name, _ in boxes_in(partial.read_bytes()))
    remuxed(partial, video)
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
    tidy(folder)
    return chunks, frames / float(rate or 1)
