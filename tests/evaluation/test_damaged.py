"""Folders of evaluations that are not what they seem, and disks that are full."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from streamt1.core.errors import ConfigError, OutputError
from streamt1.evaluation.manifest import NAME, claim, read_manifest, read_suite
from streamt1.evaluation.rows import RowFile, open_rows, read_rows
from tests.evaluation.test_rows import row
from tests.evaluation.toy import CONFIG, SUITE


@pytest.mark.parametrize(
    "text", ["{}", "null", "[]", "5", "[" * 100_000, "", '{"matters": {}, "matters": {}}', '{"matters": []}']
)
def test_a_manifest_that_cannot_be_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    for read in (read_manifest, read_suite, lambda folder: claim(folder, SUITE, CONFIG)):
        with pytest.raises(ConfigError, match=r"manifest\.json"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("suite", {"name": 5}), ("suite", {}), ("versions", {"a": 1}), ("machine", None), ("config", [])]
)
def test_a_part_of_a_manifest_that_cannot_be_is_named(key: str, value: Any, tmp_path: Path) -> None:
    held = claim(tmp_path, SUITE, CONFIG)
    assert read_suite(tmp_path) == SUITE
    (tmp_path / NAME).write_text(json.dumps({**held, key: value}))
    with pytest.raises(ConfigError):
        read_suite(tmp_path)


def fill(file: RowFile) -> None:
    for index in range(100):
        file.append(row(a=index))


def test_a_full_disk_is_said_and_the_rows_before_it_stay(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(OutputError, match=r"cannot write .*rows\.jsonl"), full_disk(), open_rows(path) as (_, file):
        fill(file)
    kept = len(read_rows(path))
    assert kept > 1
    with open_rows(path) as (rows, file):
        assert len(rows) == kept
        file.append(row(a=0))
    assert len(read_rows(path)) == kept + 1
