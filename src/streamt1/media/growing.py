"""A video on disk that grows by one chunk at a time, and that plays at every moment."""

from __future__ import annotations

import os
from pathlib import Path

import av
from torch import Tensor

from streamt1.core.errors import OutputError
from streamt1.core.files import is_same, whole_file, writing
from streamt1.media.boxes import Box, boxes_in, inner, joined
from streamt1.media.fragments import FragmentWriter
from streamt1.media.mp4 import as_os_error, check_frames

CRF, PRESET = 16, "medium"
"""The quality of finished files."""
UNFINISHED, FINISHED = b"free", b"moof"
"""A fragment's name while it is written, so that players skip it, and its name when it is whole: some refuse a file
that ends within a `moof`."""


class GrowingVideo:
    """A fragmented MP4: a header, then one whole fragment a chunk, each encoded alone.

    A file that is there already is gone on with: its whole fragments stay, at most ``chunks`` of them, and what comes
    after is cut off. The same chunks give the same bytes, however often the file was left and gone on with.

    Args:
        path: the file; it is made where it is missing. A file without a header that can be read is begun anew.
        fps: frames per second.
        chunks: how many chunks of an earlier run to keep, where they are there.

    Attributes:
        chunks: whole fragments in the file.
        frames: in them.
        path: the file.

    Raises:
        OutputError: the file cannot be made or read.
    """

    def __init__(self, path: Path, fps: int, chunks: int = 0) -> None:
        self.path, self._writer = path, FragmentWriter(fps, CRF, PRESET)
        with writing(self.path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
            self._own = os.fstat(self._file.fileno())
            try:
                self._header, self.chunks, self.frames, self._end = _kept(self._file.read(), fps, chunks)
                self._file.truncate(self._end)
            except OSError:
                self._file.close()
                raise
        self._writer.go_on(self.chunks, self.frames)

    @property
    def there(self) -> bool:
        """Whether the file still stands under its name."""
        return is_same(self._own, self.path)

    def add(self, frames: Tensor) -> None:
        """Appends a chunk, uint8 ``[T, H, W, 3]`` with even sides, and hands it to the system.

        Raises:
            OutputError: the encoder refuses, the disk is full, or the file holds a video of another shape. The file
                stays as it was.
            ValueError: a side is odd, or there are no frames.
        """
        check_frames(frames)
        content = self._writer.write(frames)
        if not self._header:
            content = self._writer.header + content
        elif _shape(self._header) != _shape(self._writer.header):
            self._writer.go_on(self.chunks, self.frames)
            raise OutputError(
                f"cannot go on with {self.path}: its frames are of another size or rate, or coded otherwise;"
                " delete it to begin anew"
            )
        with writing(self.path):
            self._append(content)
        self._header = self._header or self._writer.header
        self.chunks, self.frames = self.chunks + 1, self.frames + len(frames)

    def _append(self, content: bytes) -> None:
        try:
            name = self._end + content.index(FINISHED)
            self._write(self._end, content.replace(FINISHED, UNFINISHED, 1))
            os.fsync(self._file.fileno())  # what is named finished is on the disk, whatever fails next
            self._write(name, FINISHED)
        except OSError:
            self._file.truncate(self._end)
            self._writer.go_on(self.chunks, self.frames)
            raise
        self._end += len(content)

    def _write(self, at: int, content: bytes) -> None:
        self._file.seek(at)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    def close(self) -> None:
        """Closes the file, which plays as it is."""
        with writing(self.path):
            self._file.close()

    def finish(self, into: Path) -> None:
        """Writes an MP4 with its index in front, without encoding again; whole or not at all.

        Raises:
            OutputError: it cannot be written, or this file cannot be read.
            ValueError: there are no frames.
        """
        if not self.chunks:
            raise ValueError(f"cannot finish {self.path}: it has no frames")
        remuxed(self.path, into)


def is_video(path: Path) -> bool:
    """Whether a file holds at least one whole fragment. Raises ``OutputError`` where it is there and cannot be read."""
    try:
        names = [name for name, _ in boxes_in(path.read_bytes())]
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    return names[:4] == ["ftyp", "moov", "moof", "mdat"]


def remuxed(source: Path, into: Path) -> None:
    """Writes a video's frames as an MP4 with its index in front; whole or not at all. Raises ``OutputError``."""
    with (
        whole_file(into) as part,
        as_os_error(),
        av.open(str(source)) as read,
        av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as written,
    ):
        video = read.streams.video[0]
        stream = written.add_stream_from_template(video)
        for packet in read.demux(video):
            if packet.size:
                packet.stream = stream
                written.mux(packet)


def _kept(content: bytes, fps: int, most: int) -> tuple[bytes, int, int, int]:
    """Of a file's content: its header, how many fragments to keep, the frames in them, and where they end."""
    boxes = list(boxes_in(content))
    if most < 1 or [name for name, _ in boxes[:2]] != ["ftyp", "moov"]:
        return b"", 0, 0, 0
    header = joined(boxes[:2], "ftyp", "moov")
    scale = _timescale(boxes[1][1])
    chunks, frames, end = 0, 0, len(header)
    for first, second in zip(boxes[2::2], boxes[3::2]):
        count = _frames(first, second, chunks, frames * scale // fps)
        if chunks == most or not count:
            break
        chunks, frames, end = chunks + 1, frames + count, end + len(first[1]) + len(second[1])
    return (header, chunks, frames, end) if chunks else (b"", 0, 0, 0)


def _frames(moof: Box, mdat: Box, chunks: int, start: int) -> int:
    """Frames of a fragment; 0 where it does not follow so many chunks, the last of which ends at ``start``."""
    sequence = inner(moof[1], "mfhd")
    time, samples = inner(moof[1], "traf", "tfdt"), inner(moof[1], "traf", "trun")
    if (moof[0], mdat[0]) != ("moof", "mdat") or not (sequence and time and samples):
        return 0
    if _number(sequence[4:]) != chunks + 1 or _number(time[4:]) != start:
        return 0
    return _number(samples[4:8])


def _timescale(moov: bytes) -> int:
    """Units of a second that time stamps count."""
    return _number((inner(moov, "trak", "mdia", "mdhd") or b"")[12:16])


def _shape(header: bytes) -> tuple[int, bytes]:
    """What all fragments of a file must share: the time scale, and what the encoder says of sizes and coding."""
    moov = joined(list(boxes_in(header)), "moov")
    table = inner(moov, "trak", "mdia", "minf", "stbl", "stsd") or b""
    return _timescale(moov), table.partition(b"avcC")[2]


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big")
