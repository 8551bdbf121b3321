"""A video that leaves piece by piece: fragmented MP4, one fragment a chunk, as MediaSource plays it."""

from __future__ import annotations

import io
from fractions import Fraction

import av
from av.error import FFmpegError
from torch import Tensor

from streamt1.core.errors import OutputError
from streamt1.media.boxes import boxes_in, joined
from streamt1.media.colours import steady, tag, to_video

FRAGMENTED = {
    "movflags": "empty_moov+default_base_moof+frag_custom+frag_discont",
    "avoid_negative_ts": "disabled",
    "use_editlist": "0",
}
"""A header without frames, fragments that stand alone, and time stamps that stay as they are given."""


class FragmentWriter:
    """Turns chunks of frames into fragments. Each chunk is encoded alone, so that it leaves whole and at once.

    Args:
        fps: frames per second.
        crf: x264's quality; less is better.
        preset: x264's speed.

    Attributes:
        header: what a player needs before the first fragment; empty until a chunk has been written. It is the same
            for all chunks of one size.
        frames: written so far.
    """

    def __init__(self, fps: int, crf: int = 18, preset: str = "veryfast") -> None:
        self._fps, self._count = fps, 0
        self._quality = {"crf": str(crf), "preset": preset}
        self.header, self.frames = b"", 0

    @property
    def kind(self) -> str:
        """The media type, with the codec's profile and level, once there is a header."""
        at = self.header.index(b"avcC") + 5
        return f'video/mp4; codecs="avc1.{self.header[at : at + 3].hex()}"'

    def go_on(self, chunks: int, frames: int) -> None:
        """The next fragment follows so many chunks and frames, which another writer has made."""
        self._count, self.frames = chunks, frames

    def write(self, frames: Tensor) -> bytes:
        """uint8 frames ``[T, H, W, 3]`` with even sides -> a fragment that continues those before.

        Raises:
            OutputError: the encoder refuses.
        """
        try:
            boxes = list(boxes_in(self._encode(frames)))
        except FFmpegError as error:
            raise OutputError(f"cannot encode a fragment of {tuple(frames.shape)}: {error.strerror}") from error
        self._count, self.frames = self._count + 1, self.frames + len(frames)
        self.header = joined(boxes, "ftyp", "moov")
        return joined(boxes, "moof", "mdat")

    def _encode(self, frames: Tensor) -> bytes:
        buffer = io.BytesIO()
        options = {**FRAGMENTED, "fragment_index": str(self._count + 1)}
        with av.open(buffer, "w", format="mp4", options=options) as container:
            stream = container.add_stream("libx264", rate=self._fps)
            stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            stream.options = {**self._quality, "bf": "0", "g": "9999", **steady()}
            tag(stream.codec_context)
            for index, pixels in enumerate(frames.numpy()):
                frame = to_video(pixels)
                frame.pts, frame.time_base = self.frames + index, Fraction(1, self._fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return buffer.getvalue()
