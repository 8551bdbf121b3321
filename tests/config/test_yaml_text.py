from pathlib import Path
from typing import Any

import pytest

from streamt1.config.load import load_config
from streamt1.config.yaml_text import parse_yaml
from streamt1.core.errors import ConfigError, UnknownNameError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("12:30:45", "12:30:45"),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("2020-01-01", "2020-01-01"),
        ("'1'", "1"),
        ("", None),
        ("~", None),
        ("{a: [1, null], 2: b}", {"a": [1, None], "2": "b"}),
        ("{<<: {a: 1, b: 2}, a: 3}", {"a": 3, "b": 2}),
        ("x: &n {a: 1}\ny: *n", {"x": {"a": 1}, "y": {"a": 1}}),
        ("=", "="),
    ],
)
def test_words_and_numbers_are_what_they_look_like(text: str, value: Any) -> None:
    found = parse_yaml(text, "text")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "not valid YAML"),
        ("{", "not valid YAML"),
        ("a: b: c", "line 1"),
        ("- a\nb", "line 2"),
        (BOMB, "20000 values"),
        ("&a [*a]", "32 deep"),
        ("*nobody", "nobody"),
        ("[" * 100_000, "32 deep"),
        ("- " * 5000, "32 deep"),
        ("[" + "1," * 30_000 + "]", "20000 values"),
        ("x" * 1_000_001, "too large"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a'"),
        ("{[1]: 2}", "a key must be a word"),
        ("!!python/object/apply:os.system ['true']", "tags"),
        ("!!int x", "tags"),
        ("9" * 5000, "5000 digits"),
        ("<<: 5", "<<"),
        ("\x00", "not valid YAML"),
        ("a\tb: %", "x"),
    ][:-1],
)
def test_what_is_no_configuration_is_said_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_yaml(text, "mine.yaml")
    assert "mine.yaml" in str(told.value)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a": "extends: a.yaml"}, "extends itself"),
        ({"a": "extends: b.yaml", "b": "extends: a.yaml"}, "extends itself, by way of 2"),
        ({"a": "extends: 5"}, "extends=5"),
        ({"a": "extends: [pocket]"}, "must be one preset"),
        ({"a": "extends: null"}, "extends=None"),
        ({"a": "extends: pokcet"}, "did you mean 'pocket'"),
        ({"a": "extends: gone.yaml"}, "gone.yaml: No such file"),
        ({"a": "- 1"}, "must hold keys and values"),
        ({"a": "memory: 5"}, "'memory'"),
        ({"a": "memory: {chunk: 0}"}, "chunk=0"),
        ({"a": "threads: 99999999"}, "'threads' = 99999999"),
        ({"a": "threads: 12:30:45"}, "'threads' = '12:30:45'"),
        ({"a": "search: {noise_strength: .nan}"}, "'search.noise_strength' = nan must be a finite number"),
        ({"a": "search: {noise_strength: 'nan'}"}, "noise_strength=nan must be a finite number"),
        ({"a": "search: {budget_seconds: .inf}"}, "search.budget_seconds"),
        ({"a": "wan: {shift: -.inf}"}, "wan.shift"),
        ({"a": "search: {beam_size: 100000}"}, "limits.candidates"),
        ({"a": "wan: {height: 1600000}"}, "wan.height"),
        ({"a": "a" * 1000 + ": 1"}, "unknown config key"),
        ({"a": "policy: " + "b" * 5000}, "unknown policy"),
    ],
)
def test_presets_that_cannot_be_are_named(files: dict[str, str], says: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError) as told:
        load_config(str(tmp_path / "a.yaml"))
    assert says in str(told.value)
    assert len(str(told.value)) < 1000


def test_extends_is_relative_to_the_file_it_stands_in(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "base.yaml").write_text("extends: pocket\nsearch: {top_k: 3}")
    (tmp_path / "in" / "own.yaml").write_text("extends: ../base.yaml\nsearch: {beam_size: 5}")
    search = load_config(str(tmp_path / "in" / "own.yaml")).search
    assert (search.top_k, search.beam_size, search.window) == (3, 5, 7)


def test_limits_can_be_raised() -> None:
    wide = {"search.beam_size": 100, "search.top_k": 100}
    with pytest.raises(ConfigError, match=r"100 times top_k=100"):
        load_config("pocket", wide)
    assert load_config("pocket", {**wide, "limits.candidates": 10_000}).search.top_k == 100


@pytest.mark.parametrize("key", ["", ".", "search.", ".top_k", "search..top_k"])
def test_keys_that_are_none_are_named(key: str) -> None:
    with pytest.raises(ConfigError, match="config key"):
        load_config("pocket", {key: 1})


def test_an_unknown_name_is_shown_in_part() -> None:
    with pytest.raises(UnknownNameError) as told:
        load_config("x" * 9999)
    assert len(str(told.value)) < 500
