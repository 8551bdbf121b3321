from pathlib import Path

import pytest

from streamt1.core.errors import CheckpointError
from streamt1.core.json_files import read_json, read_sizes
from streamt1.core.json_text import DEEPEST, JsonError, depth_of, parse_json


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "too deeply"),
        ('{"a":' * 100_000, "too deeply"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"more than {DEEPEST} deep"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        (r'"\ud800"', "half of a character"),
        (b"\xff\xfe", "not UTF-8"),
        ("9" * 10_000, "limit"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_clause(text: str | bytes, says: str) -> None:
    with pytest.raises(JsonError) as told:
        parse_json(text)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_what_can_be_read_is() -> None:
    assert parse_json(r'{"a": [1, "\ud83d\ude00", null]}') == {"a": [1, "😀", None]}
    nested = parse_json("[" * DEEPEST + "]" * DEEPEST)
    assert depth_of(nested) == DEEPEST
    assert depth_of(5) == 0


@pytest.mark.parametrize(
    "text", ['{"num_layers": 1000000000}', '{"a": {"vocab_size": 1e300}}', '{"a": [-99999999999]}', '{"a": NaN}']
)
def test_sizes_that_no_model_has_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert read_json(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="which no model has"):
        read_sizes(tmp_path / "config.json")
