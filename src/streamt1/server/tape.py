"""A job's tape: all that is told of it while it is made, on the disk, for viewers who come, leave and come again."""

from __future__ import annotations

import json
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from streamt1.core.files import writing
from streamt1.core.json_text import parse_json

HEAD = struct.Struct("<4sIII")
"""Before a record: a mark, bytes of its JSON, bytes of the piece of video after it, and the CRC-32 of both."""
MARK = b"st1:"
BATCH = 1 << 16
"""Bytes that a reader takes at once, or one record where that is more."""


@dataclass(frozen=True)
class Record:
    """One message: a JSON object as text, and the piece of an MP4 file that it announces, often none.

    ``id`` is its place, for whoever wants to go on behind it.
    """

    text: str
    piece: bytes
    id: str


class Tape:
    """Grows by records; one thread writes, and any number of readers read at their own pace.

    A file that is there is gone on with: what was torn at its end by a kill is cut off.

    Args:
        path: the file; it is made with the first record.

    Attributes:
        begun: how often it was begun anew.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.begun = path, 0
        self._file: FileIO | None = None
        self._end, self._lock, self._listeners = 0, threading.Lock(), set[Callable[[], None]]()

    def append(self, message: dict[str, Any], piece: bytes = b"") -> None:
        """Writes a record, and wakes its readers. Raises ``OutputError``."""
        with writing(self.path):
            self._write(json.dumps(message).encode(), piece)
        self.wake()

    def _write(self, text: bytes, piece: bytes) -> None:
        if self._file is None:
            self._end = _whole(self.path)
            self._file = FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
            self._file.truncate(self._end)
        if not self._end:  # a name of its own, so that a place on another tape is not taken for one on this
            self._put(json.dumps({"tape": secrets.token_hex(4)}).encode(), b"")
        self._put(text, piece)

    def _put(self, text: bytes, piece: bytes) -> None:
        assert self._file is not None
        content = HEAD.pack(MARK, len(text), len(piece), zlib.crc32(piece, zlib.crc32(text))) + text + piece
        self._file.seek(self._end)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
        self._end += len(content)

    def records(self) -> Iterator[tuple[dict[str, Any], int]]:
        """All that is told so far: each message, and the bytes of its piece."""
        with Reader(self) as reader:
            while batch := reader.read():
                for record in batch:
                    yield parse_json(record.text), len(record.piece)

    def clear(self) -> None:
        """What was told is not true any more: the tape begins anew, under another name."""
        self.close()
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.begun += 1

    def close(self) -> None:
        """Lets go of the file, which stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def listen(self, call: Callable[[], None]) -> None:
        """``call`` is called after every record, from the thread that wrote it, until ``unlisten``."""
        with self._lock:
            self._listeners.add(call)

    def unlisten(self, call: Callable[[], None]) -> None:
        """See ``listen``."""
        with self._lock:
            self._listeners.discard(call)

    def wake(self) -> None:
        """Something has changed that readers wait for."""
        with self._lock:
            for call in self._listeners:
                call()


class Reader:
    """Reads a tape from a place on; holds one batch at most.

    Args:
        after: the ``id`` of the last record that is known; where it is of no record of this tape, reading begins at
            the front.
    """

    def __init__(self, tape: Tape, after: str | None = None) -> None:
        self._tape, self._after, self._name, self._at = tape, after or "", "", 0
        self._file: FileIO | None = None
        self._begun = tape.begun

    def read(self) -> list[Record]:
        """The next records, whole; none where there is nothing new. To be called in a thread: it reads from the disk.

        Raises ``OSError``.
        """
        if self._file is None or self._begun != self._tape.begun:
            self._open()
        records, taken = list[Record](), 0
        while self._file is not None and taken < BATCH and (found := _record(self._file, self._at)) is not None:
            text, piece = found
            records.append(Record(text.decode(), piece, f"{self._name}-{self._at}"))
            self._at += HEAD.size + len(text) + len(piece)
            taken += len(text) + len(piece)
        return records

    def _open(self) -> None:
        self.close()
        self._begun = self._tape.begun
        try:
            self._file = FileIO(self._tape.path)
        except FileNotFoundError:
            return
        first = _record(self._file, 0)
        if first is None:
            return self.close()
        self._at = HEAD.size + len(first[0])
        self._name = parse_json(first[0])["tape"]
        name, _, place = self._after.partition("-")
        if name == self._name and place.isascii() and place.isdigit() and len(place) < 20:
            known = _record(self._file, int(place))
            if known is not None:
                self._at = int(place) + HEAD.size + len(known[0]) + len(known[1])

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _whole(path: Path) -> int:
    """Where the last whole record of a tape ends; 0 where there is none."""
    at = 0
    with suppress(FileNotFoundError), FileIO(path) as file:
        while (found := _record(file, at)) is not None:
            at += HEAD.size + len(found[0]) + len(found[1])
    return at


def _record(file: FileIO, at: int) -> tuple[bytes, bytes] | None:
    """What stands at a place; None where it is no whole record."""
    if at > os.fstat(file.fileno()).st_size:
        return None
    head = os.pread(file.fileno(), HEAD.size, at)
    if len(head) < HEAD.size:
        return None
    mark, text, piece, crc = HEAD.unpack(head)
    left = os.fstat(file.fileno()).st_size - at - HEAD.size
    if mark != MARK or text + piece > left:
        return None
    content = os.pread(file.fileno(), text + piece, at + HEAD.size)
    whole = len(content) == text + piece and zlib.crc32(content) == crc
    return (content[:text], content[text:]) if whole else None
