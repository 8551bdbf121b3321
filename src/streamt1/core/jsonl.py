"""A file of JSON objects, one a line, that grows: what a kill tears off is at most its last line."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamt1.core.errors import OutputError
from streamt1.core.files import is_same, writing


class GrowingLines:
    """Appends to a file. Lines are on the disk when ``sync`` returns.

    Args:
        path: made where it is not there.
        end: bytes to go on after; what comes behind is cut off. By default everything.

    Attributes:
        size, crc32: of the file, with what is not on the disk yet.

    Raises:
        OutputError: the file cannot be written, or the disk is full; every method may raise it.
    """

    def __init__(self, path: Path, end: int = 0) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._own = os.fstat(self._file.fileno())
            self._cut(end)

    @property
    def there(self) -> bool:
        """Whether the file still stands under its name."""
        return is_same(self._own, self.path)

    def append(self, record: Mapping[str, Any], allow_nan: bool = False) -> None:
        """One line more; ``allow_nan`` writes what JSON has no word for as Python reads it."""
        line = json.dumps(record, allow_nan=allow_nan).encode() + b"\n"
        with writing(self.path):
            self._file.write(line)
        self.size, self.crc32 = self.size + len(line), zlib.crc32(line, self.crc32)

    def cut(self, end: int) -> None:
        """Drops what comes after ``end`` bytes."""
        with writing(self.path):
            self._file.flush()
            self._cut(end)

    def _cut(self, end: int) -> None:
        self._file.truncate(end)
        self._file.seek(0)
        self.size, self.crc32 = end, zlib.crc32(self._file.read(end))
        self._file.seek(end)

    def sync(self) -> None:
        """Waits until all lines are on the disk."""
        with writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Writes what is left, where that is possible: what is not synced may be lost."""
        with writing(self.path):
            self._file.close()


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that are whole; none where it is missing. Raises ``OutputError``."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    return content[: content.rfind(b"\n") + 1].splitlines()
