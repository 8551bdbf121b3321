"""The table of an evaluation on disk: one JSON object a line, safe against a kill at any moment."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamt1.core.errors import ConfigError
from streamt1.core.files import write_whole, writing
from streamt1.core.json_text import JsonError, parse_json
from streamt1.core.locks import lock

Row = dict[str, Any]
_COLUMNS: dict[str, Any] = {
    "prompt": str, "seed": int, "method": str, "beam_size": int, "top_k": int, "length": (int, float),
    "error": (str, type(None)),
}  # fmt: skip
"""What every row has."""
_WORDS = {"prompt", "method", "error", "scenes"}
_LARGEST = 1e300
"""Sums of a few squares of larger ones are no numbers any more."""


class RowFile:
    """Rows that are on the disk when ``append`` returns. Made by ``open_rows``."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self._path, self._file = path, file

    def append(self, row: Mapping[str, Any]) -> None:
        """Raises ``OutputError``; a line that was cut short by it is dropped when the file is opened again."""
        left = json.dumps(row, allow_nan=False).encode() + b"\n"
        with writing(self._path):
            while left:
                left = left[self._file.write(left) or 0 :]
            os.fsync(self._file.fileno())


@contextmanager
def open_rows(path: Path) -> Iterator[tuple[list[Row], RowFile]]:
    """The rows so far, and where to append more; a torn last line is dropped from the file.

    Raises:
        ConfigError: another process is writing to it, or a line before the last is not a row.
        OutputError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.FileIO(path, "a+")  # no buffer: what could not be written is not written again when it closes
    with file:
        _lock(file, path)
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        file.truncate(len(whole))
        yield _parsed(whole, path), RowFile(path, file)


def read_rows(path: Path) -> list[Row]:
    """The rows of a table that may still grow. Raises ``ConfigError`` where there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    return _parsed(content[: content.rfind(b"\n") + 1], path)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A row each, columns in the order of their first appearance; what a row lacks is empty. Raises ``OutputError``."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _parsed(content: bytes, path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            row = parse_json(line)
        except JsonError as error:
            raise ConfigError(f"line {number} of {path} is damaged: remove it, and its clip is made again") from error
        wrong = "it holds no keys" if not isinstance(row, dict) else _wrong_column(row)
        if wrong:
            raise ConfigError(f"line {number} of {path} is no row ({wrong}): remove it, and its clip is made again")
        rows.append(row)
    return rows


def _wrong_column(row: Row) -> str:
    """What is missing of a clip's row, or of the wrong kind; empty where all is there."""
    for name, kinds in _COLUMNS.items():
        if name not in row:
            return f"it lacks {name}"
        if not isinstance(row[name], kinds) or isinstance(row[name], bool):
            return f"{name} is of the wrong kind"
    scenes = row.get("scenes", "A")
    if not isinstance(scenes, str) or not scenes.isalpha():
        return "scenes is of the wrong kind"
    for name, value in row.items():
        if isinstance(value, (dict, list)) or (isinstance(value, str) and name not in _WORDS):
            return f"{name[:60]} is no number"
        if isinstance(value, (int, float)) and not abs(value) < _LARGEST:
            return f"{name[:60]} is no finite number"
    return ""


def _lock(file: io.FileIO, path: Path) -> None:
    """Until the file is closed, or its process gone."""
    try:
        lock(file.fileno())
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise BlockingIOError("it was deleted meanwhile")
    except OSError as error:
        raise ConfigError(f"another evaluation writes to {path.parent}; wait for it, or use another --out") from error
