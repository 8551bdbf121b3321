"""A video that leaves piece by piece: fragmented MP4, one fragment a chunk, as MediaSource plays it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

import av
from av.error import FFmpegError
from torch import Tensor

from streamt1.core.errors import OutputError

FRAGMENTED = {
    "movflags": "empty_moov+default_base_moof+frag_keyframe+frag_discont",
    "avoid_negative_ts": "disabled",
    "use_editlist": "0",
}
"""A header without frames, fragments that stand alone, and time stamps that stay as they are given."""

Box = tuple[str, bytes]


class FragmentWriter:
    """Turns chunks of frames into fragments. Each chunk is encoded alone, so that it leaves whole and at once.

    Attributes:
        header: what a player needs before the first fragment; empty until a chunk has been written.
        frames: written so far.
    """

    def __init__(self, fps: int) -> None:
        self._fps, self._count = fps, 0
        self.header, self.frames = b"", 0

    @property
    def kind(self) -> str:
        """The media type, with the codec's profile and level, once there is a header."""
        at = self.header.index(b"avcC") + 5
        return f'video/mp4; codecs="avc1.{self.header[at : at + 3].hex()}"'

    def write(self, frames: Tensor) -> bytes:
        """uint8 frames ``[T, H, W, 3]`` with even sides -> a fragment that continues those before.

        Raises:
            OutputError: the encoder refuses.
        """
        self._count += 1
        try:
            boxes = list(_boxes(self._encode(frames)))
        except FFmpegError as error:
            raise OutputError(f"cannot encode a fragment of {tuple(frames.shape)}: {error.strerror}") from error
        self.frames += len(frames)
        self.header = self.header or _joined(boxes, "ftyp", "moov")
        return _joined(boxes, "moof", "mdat")

    def _encode(self, frames: Tensor) -> bytes:
        buffer = io.BytesIO()
        options = {**FRAGMENTED, "fragment_index": str(self._count)}
        with av.open(buffer, "w", format="mp4", options=options) as container:
            stream = container.add_stream("libx264", rate=self._fps)
            stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            stream.options = {"crf": "18", "preset": "veryfast", "bf": "0", "g": "9999"}
            for index, pixels in enumerate(frames.numpy()):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = self.frames + index, Fraction(1, self._fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return buffer.getvalue()


def _boxes(content: bytes) -> Iterator[Box]:
    """The outermost boxes of an MP4 file, each with its name."""
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8].decode(), content[at : at + size]
        at += size


def _joined(boxes: list[Box], *names: str) -> bytes:
    return b"".join(content for name, content in boxes if name in names)
