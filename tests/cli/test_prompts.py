import unicodedata
import warnings
from pathlib import Path

import pytest

from streamt1.cli.folder_names import LONGEST, folder_names
from streamt1.cli.prompts import read_prompts
from streamt1.cli.settings import read_settings
from streamt1.core.errors import ConfigError, PromptError, StreamT1Warning


def test_comments_blank_lines_and_a_byte_order_mark_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbf# mine\n\n a red fox \r\n#no\n\xe9\x9b\xaa\n")
    assert read_prompts(tmp_path / "p.txt") == ["a red fox", "雪"]


def test_a_line_ends_where_a_text_editor_says(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("a red\u2028circle\r\na green\x85star\ra blue\x0ccube\n".encode())
    assert read_prompts(file) == ["a red\u2028circle", "a green\x85star", "a blue\x0ccube"]


def test_a_prompt_that_stands_there_twice_is_made_once_and_said(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\ntwo\n one\none\n")
    with pytest.warns(StreamT1Warning, match="2 prompts more than once"):
        assert read_prompts(tmp_path / "p.txt") == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a red fox".encode("utf-16"), "is UTF-16"),
        ("a red fox".encode("utf-32"), "is UTF-32"),
        ("a red fox".encode("utf-16-le"), "perhaps UTF-16"),
        (b"caf\xe9", "not UTF-8 (at byte 3)"),
        (b"# nothing\n\n", "holds no prompt"),
        (b"", "holds no prompt"),
        (b"x" * 10_000_001, "too large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_prompts_file_is_said(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(PromptError) as told:
        read_prompts(tmp_path / "p.txt")
    assert says in str(told.value)
    assert "p.txt" in str(told.value)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red, round circle!", "000-a-red-round-circle"),
        ("一只红色的狐狸在雪地里奔跑", "000-一只红色的狐狸在雪地里奔跑"),
        ("😀 a fox 🦊", "000-😀-a-fox-🦊"),
        ("हिन्दी में लोमड़ी", "000-हिन्दी-में-लोमड़ी"),
        ("cafe\u0301", "000-café"),
        ("../../etc/passwd", "000-etc-passwd"),
        ("\0\n\t", "000"),
        ("$(rm -rf ~) `x` 'y' \"z\" <>|&;*?", "000-rm-rf-x-y-z"),
    ],
)
def test_a_folder_is_named_by_its_prompt_in_any_script(prompt: str, name: str) -> None:
    assert folder_names([prompt]) == [unicodedata.normalize("NFC", name)]


def test_names_are_bounded_in_bytes_and_never_the_same() -> None:
    names = folder_names(["雪" * 400, "雪" * 401, "x" * 400, "👩‍👩‍👧‍👧" * 40])
    assert len(set(names)) == 4
    assert all(len(name.encode()) <= LONGEST and "\ufffd" not in name for name in names)


@pytest.mark.parametrize("pair", ["x=[", "x={", "x=&a [*a]", "x=!!python/name:os.system", "x", "=1", "x=" + "[" * 9999])
def test_a_setting_that_cannot_be_read_is_named(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        read_settings([pair])


def test_a_setting_is_given_once() -> None:
    with pytest.raises(ConfigError, match="twice"):
        read_settings(["a=1", "a=2"])


def test_reading_a_plain_file_warns_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\ntwo\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_prompts(tmp_path / "p.txt")) == 2
