"""A video that is written while the search that makes it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from streamt1.codec.pixels import SHOWN_SIDE, enlarge, to_bytes
from streamt1.codec.video_file import VideoWriter
from streamt1.core.files import whole_file


@contextmanager
def recording(
    path: Path, fps: int, rescue: Path, rescued: Callable[[int], None]
) -> Iterator[Callable[[int, Tensor], None]]:
    """Yields what ``Pipeline.run`` takes as ``settled``: each chunk is encoded, in a thread, as soon as it is final.

    The file is there, whole, when the block has ended.

    Args:
        rescue: where the block fails or is interrupted, the video is kept here as far as it was final.
        rescued: called then with the number of frames.

    Raises:
        OutputError: the file cannot be written, or the disk is full; as soon as that is known.
    """
    with whole_file(path) as part, ThreadPoolExecutor(1, "video") as encoder:
        writer, jobs = VideoWriter(part, fps), list[Future[None]]()

        def settled(chunk: int, frames: Tensor) -> None:
            for job in jobs:
                if job.done():
                    job.result()
            jobs.append(encoder.submit(lambda: writer.add(to_bytes(enlarge(frames, SHOWN_SIDE)))))

        try:
            yield settled
        except BaseException:
            if jobs and not any(job.exception() for job in jobs):
                writer.close()
                part.replace(rescue)
                rescued(writer.frames)
            raise
        for job in jobs:
            job.result()
        writer.close()
    rescue.unlink(missing_ok=True)
