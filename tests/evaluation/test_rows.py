import json
from pathlib import Path
from typing import Any

import pytest

from streamt1.core.errors import ConfigError, OutputError
from streamt1.evaluation.rows import open_rows, read_rows, write_csv

KEYS = {"prompt": "text, with a comma", "seed": 0, "method": "beam", "beam_size": 2, "top_k": 2, "length": 5.0}


def row(**values: Any) -> dict[str, Any]:
    return {**KEYS, "error": None, **values}


def test_rows_come_back_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    with open_rows(path) as (rows, file):
        assert rows == []
        file.append(row(a=1))
        file.append(row(a=None, b=3))
        assert len(read_rows(path)) == 2
    with path.open("ab") as raw:
        raw.write(b'{"a": 3')
    assert len(read_rows(path)) == 2
    with open_rows(path) as (rows, file):
        assert [one["a"] for one in rows] == [1, None]
        file.append(row(a=4))
    assert [one["a"] for one in read_rows(path)] == [1, None, 4]
    write_csv(tmp_path / "rows.csv", [{"a": 1}, {"a": None, "b": "text, with a comma"}, {"a": 4}])
    assert (tmp_path / "rows.csv").read_text() == 'a,b\n1,\n,"text, with a comma"\n4,\n'


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "rows.jsonl"
    damaged.write_text(f"{json.dumps(row())}\nnonsense\n{json.dumps(row())}\n")
    with pytest.raises(ConfigError, match="line 2"), open_rows(damaged):
        pass
    with pytest.raises(ConfigError, match="cannot read"):
        read_rows(tmp_path / "nowhere.jsonl")
    with pytest.raises(OutputError), open_rows(damaged / "rows.jsonl"):
        pass


WRONG = [
    "{}", "null", "[]", "[" * 100_000, '{"seed": 1, "seed": 2}', json.dumps(row(seed="0")), json.dumps(row(oracle=[1])),
    json.dumps(row(oracle=float("nan"))), json.dumps(row(length=True)), json.dumps(row(prompt=None)), "\xff",
]  # fmt: skip


@pytest.mark.parametrize("line", WRONG, ids=range(len(WRONG)))
def test_a_line_that_is_no_row_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f"{json.dumps(row())}\n{line}\n".encode("latin-1"))
    for read in (read_rows, lambda path: open_rows(path).__enter__()):
        with pytest.raises(ConfigError, match=r"line 2 of .*rows\.jsonl"):
            read(path)


def test_two_evaluations_do_not_write_to_one_table(tmp_path: Path) -> None:
    with open_rows(tmp_path / "rows.jsonl"), pytest.raises(ConfigError, match="another evaluation"):  # noqa: SIM117
        with open_rows(tmp_path / "rows.jsonl"):
            pass
