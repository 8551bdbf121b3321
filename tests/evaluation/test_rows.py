from pathlib import Path

import pytest

from streamt1.core.errors import ConfigError, OutputError
from streamt1.evaluation.rows import open_rows, read_rows, write_csv


def test_rows_come_back_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    with open_rows(path) as (rows, file):
        assert rows == []
        file.append({"a": 1})
        file.append({"a": None, "b": "text, with a comma"})
        assert len(read_rows(path)) == 2
    with path.open("ab") as raw:
        raw.write(b'{"a": 3')
    assert len(read_rows(path)) == 2
    with open_rows(path) as (rows, file):
        assert [row["a"] for row in rows] == [1, None]
        file.append({"a": 4})
    assert [row["a"] for row in read_rows(path)] == [1, None, 4]
    write_csv(tmp_path / "rows.csv", read_rows(path))
    assert (tmp_path / "rows.csv").read_text() == 'a,b\n1,\n,"text, with a comma"\n4,\n'


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "rows.jsonl"
    damaged.write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(ConfigError, match="line 2"), open_rows(damaged):
        pass
    with pytest.raises(ConfigError, match="cannot read"):
        read_rows(tmp_path / "nowhere.jsonl")
    with pytest.raises(OutputError), open_rows(damaged / "rows.jsonl"):
        pass


def test_two_evaluations_do_not_write_to_one_table(tmp_path: Path) -> None:
    with open_rows(tmp_path / "rows.jsonl"), pytest.raises(ConfigError, match="another evaluation"):  # noqa: SIM117
        with open_rows(tmp_path / "rows.jsonl"):
            pass
