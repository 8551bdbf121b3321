"""A video that is written while the search that makes it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from streamt1.core.files import whole_file
from streamt1.media.mp4 import VideoWriter
from streamt1.media.pixels import SHOWN_SIDE, enlarge, to_bytes
from streamt1.search.watcher import Watcher


class VideoRecording(Watcher):
    """Encodes each chunk, in a thread, as soon as it is final."""

    def __init__(self, writer: VideoWriter, encoder: ThreadPoolExecutor) -> None:
        self._writer, self._encoder, self._jobs = writer, encoder, list[Future[None]]()

    def settled(self, chunk: int, frames: Tensor) -> None:
        for job in self._jobs:
            if job.done():
                job.result()
        self._jobs.append(self._encoder.submit(lambda: self._writer.add(to_bytes(enlarge(frames, SHOWN_SIDE)))))

    def finish(self) -> None:
        """Waits for the last chunk and closes the video. Raises ``OSError``."""
        for job in self._jobs:
            job.result()
        self._writer.close()

    def rescue(self) -> int:
        """Closes the video as far as it is; frames in it, 0 where it cannot be played. Raises ``OSError``."""
        if not self._jobs or any(job.exception() for job in self._jobs):
            return 0
        self._writer.close()
        return self._writer.frames


@contextmanager
def recording(path: Path, fps: int, rescue: Path, rescued: Callable[[int], None]) -> Iterator[VideoRecording]:
    """Yields a watcher that writes the video; the file is there, whole, when the block has ended.

    Args:
        rescue: where the block fails or is interrupted, the video is kept here as far as it was final.
        rescued: called then with the number of frames.

    Raises:
        OutputError: the file cannot be written, or the disk is full; as soon as that is known.
    """
    with whole_file(path) as part, ThreadPoolExecutor(1, "video") as encoder:
        video = VideoRecording(VideoWriter(part, fps), encoder)
        try:
            yield video
        except BaseException:
            if frames := video.rescue():
                part.replace(rescue)
                rescued(frames)
            raise
        video.finish()
    rescue.unlink(missing_ok=True)
