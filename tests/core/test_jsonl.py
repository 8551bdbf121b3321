"""Lines that grow: cut where they are gone on with, and whole lines only when they are read."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from streamt1.core.errors import OutputError
from streamt1.core.jsonl import GrowingLines, whole_lines


def test_lines_are_gone_on_with_after_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    lines = GrowingLines(path)
    lines.append({"a": 1})
    lines.append({"a": 2.5})
    lines.sync()
    assert path.stat().st_size == lines.size
    lines.close()
    end = lines.size
    path.write_bytes(path.read_bytes() + b'{"a": ')
    assert whole_lines(path) == [b'{"a": 1}', b'{"a": 2.5}']
    again = GrowingLines(path, end)
    again.append({"a": 3})
    again.close()
    assert whole_lines(path) == [b'{"a": 1}', b'{"a": 2.5}', b'{"a": 3}']
    assert whole_lines(tmp_path / "missing") == []


def test_what_json_has_no_word_for_is_refused_unless_asked_for(tmp_path: Path) -> None:
    lines = GrowingLines(tmp_path / "l.jsonl")
    with pytest.raises(ValueError, match="JSON compliant"):
        lines.append({"a": float("nan")})
    lines.append({"a": float("nan")}, allow_nan=True)
    lines.close()
    assert whole_lines(tmp_path / "l.jsonl") == [b'{"a": NaN}']


def test_a_full_disk_names_the_file(tmp_path: Path, full_disk: Callable[..., AbstractContextManager[None]]) -> None:
    lines = GrowingLines(tmp_path / "l.jsonl")

    def fill() -> None:
        for _ in range(200):
            lines.append({"a": "x" * 100})
            lines.sync()

    with full_disk(), pytest.raises(OutputError, match=r"cannot write .*l\.jsonl: File too large"):
        fill()
