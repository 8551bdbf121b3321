"""Video files that every browser plays: H.264, yuv420p, BT.709, in MP4 with its index in front."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from torch import Tensor

from streamt1.core.files import whole_file
from streamt1.media.colours import steady, tag, to_video


def write_video(path: Path, frames: Tensor, fps: int) -> None:
    """uint8 frames ``[T, H, W, 3]`` with even sides -> an MP4 file, whole or not there.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
        ValueError: a side is odd, which yuv420p cannot hold, or there are no frames.
    """
    with whole_file(path) as part:
        writer = VideoWriter(part, fps)
        writer.add(frames)
        writer.close()


class VideoWriter:
    """Writes a video file frame by frame; it can be played once it has been closed.

    Args:
        path: a temporary one, see ``whole_file``; nothing is there before the first frame.

    Attributes:
        frames: written so far.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self._path, self._fps, self.frames = path, fps, 0
        self._open: tuple[Any, Any] | None = None

    def add(self, frames: Tensor) -> None:
        """uint8 ``[T, H, W, 3]`` with even sides.

        Raises:
            OSError: whatever FFmpeg could not write.
            ValueError: a side is odd, or there are no frames.
        """
        length, height, width = check_frames(frames)
        with as_os_error():
            self._open = self._open or self._begun(height, width)
            container, stream = self._open
            for pixels in frames.numpy():
                container.mux(stream.encode(to_video(pixels)))
        self.frames += length

    def _begun(self, height: int, width: int) -> tuple[Any, Any]:
        container = av.open(str(self._path), "w", format="mp4", options={"movflags": "+faststart"})
        stream = container.add_stream("libx264", rate=self._fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": "16", "preset": "medium", **steady()}
        tag(stream.codec_context)
        return container, stream

    def close(self) -> None:
        """Writes what the encoder still holds, and the index. Raises ``OSError``."""
        if self._open is not None:
            container, stream = self._open
            with as_os_error():
                container.mux(stream.encode(None))
                container.close()


def check_frames(frames: Tensor) -> tuple[int, int, int]:
    """Length, height and width of ``[T, H, W, 3]``. Raises ``ValueError`` for no frames, and for odd sides."""
    length, height, width, _ = frames.shape
    if not length or height % 2 or width % 2:
        raise ValueError(f"cannot encode {length} frames of {height}x{width}: need at least one, with even sides")
    return length, height, width


@contextmanager
def as_os_error() -> Iterator[None]:
    """FFmpeg's errors are ``OSError`` outside."""
    try:
        yield
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
