"""Video files that every browser plays: H.264, yuv420p, in MP4 with its index in front."""

from __future__ import annotations

from pathlib import Path

import av
from av.error import FFmpegError
from torch import Tensor

from streamt1.core.files import whole_file


def write_video(path: Path, frames: Tensor, fps: int) -> None:
    """uint8 frames ``[T, H, W, 3]`` with even sides -> an MP4 file, whole or not there.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
        ValueError: a side is odd, which yuv420p cannot hold, or there are no frames.
    """
    length, height, width, _ = frames.shape
    if not length or height % 2 or width % 2:
        raise ValueError(f"cannot encode {length} frames of {height}x{width}: need at least one, with even sides")
    with whole_file(path) as part:
        _encode(part, frames, fps)


def _encode(path: Path, frames: Tensor, fps: int) -> None:
    """Raises ``OSError`` for whatever FFmpeg could not write."""
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            stream.options = {"crf": "16", "preset": "medium"}
            for pixels in frames.numpy():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
