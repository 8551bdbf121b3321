"""Folders of runs that are not what they seem: one sentence that names the file, and no page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamt1.core.errors import TraceError
from streamt1.report import write_report
from tests.report.traces import write_run


def changed(folder: Path, **values: object) -> None:
    """Other values in the first event, which announces the run."""
    first, *rest = (folder / "trace.jsonl").read_text().splitlines()
    (folder / "trace.jsonl").write_text("\n".join([json.dumps({**json.loads(first), **values}), *rest]) + "\n")


@pytest.mark.parametrize(
    "values",
    [
        {"chunks": 100_000_000}, {"chunks": -1}, {"chunks": 0}, {"frames_per_chunk": 0}, {"fps": 0}, {"fps": -16},
        {"seed": 10**40}, {"seconds": float("nan")}, {"seconds": "1"}, {"chunks": 2.5}, {"prompt": None},
        {"time_stride": float("inf")},
    ],
    ids=str,
)  # fmt: skip
def test_announcements_that_cannot_be(values: dict[str, object], tmp_path: Path) -> None:
    changed(write_run(tmp_path, 2), **values)
    with pytest.raises(TraceError, match=r"trace"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["trace.jsonl", "thumbnails.jsonl", "run.json"])
@pytest.mark.parametrize("text", ["[]\n", "null\n", "5\n", "[" * 100_000, '{"a": 1, "a": 2}\n', "\udcff"])
def test_files_that_hold_something_else(name: str, text: str, tmp_path: Path) -> None:
    write_run(tmp_path, 2)
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(TraceError) as told:
        write_report(tmp_path)
    assert str(tmp_path / name) in str(told.value)
    assert "\n" not in str(told.value)


def test_thumbnails_of_strangers(tmp_path: Path) -> None:
    write_run(tmp_path, 2)
    for line in ('{"candidate": "0", "webp": ""}', '{"candidate": 0}', '{"candidate": 0, "webp": "%"}'):
        (tmp_path / "thumbnails.jsonl").write_text(line)
        with pytest.raises(TraceError, match="thumbnails"):
            write_report(tmp_path)
