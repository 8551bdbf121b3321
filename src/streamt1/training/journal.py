"""The log of a run as lines of JSON, each step in one line only, however often the run was left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamt1.core.files import writing
from streamt1.core.json_text import parse_json


class Journal:
    """Appends lines to a file; lines about steps that will be made again are cut off first, and so are torn ones.

    Args:
        file: made with the first line.
        done: the step that the run goes on from.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, file: Path, done: int) -> None:
        self._file = file
        with writing(file):
            if file.is_file():
                with file.open("r+b") as opened:
                    opened.truncate(_end(opened.read(), done))

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line. Raises ``OutputError``."""
        with writing(self._file), self._file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(record) + "\n")


def _end(content: bytes, done: int) -> int:
    """Where the lines about steps up to ``done`` end."""
    end = 0
    for line in content.splitlines(keepends=True):
        try:
            step = parse_json(line)["step"]
        except (ValueError, KeyError, TypeError):
            break
        if not line.endswith(b"\n") or step > done:
            break
        end += len(line)
    return end
