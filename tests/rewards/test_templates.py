import hashlib
from pathlib import Path

import pytest

from streamt1.core.errors import CheckpointError
from streamt1.rewards.templates import filled, read_constants

TEXT = "Look.\nTextual prompt - {text_prompt}\n Rate: <|R|> \n"
HASHES = {"ASK": hashlib.sha256(TEXT.encode()).hexdigest()}


def test_a_constant_is_read_without_running_the_file(tmp_path: Path) -> None:
    file = tmp_path / "t.py"
    file.write_text(f"import nothing_like_this\nraise SystemExit\nOTHER = 3\nASK = {TEXT!r}\n")
    assert read_constants(file, HASHES) == {"ASK": TEXT}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"ASK = {TEXT.replace('Rate', 'rate')!r}", "is not the text"),
        ("OTHER = 'x'", "assigns no text to ASK"),
        ("ASK = ", "cannot be read"),
        ("(" * 9999, "cannot be read"),
        ("-" * 99_999 + "1", "cannot be read"),
        ("#" * 1_000_001, "too large"),
        (None, "cannot be read"),
    ],
)
def test_another_text_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "t.py").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_constants(tmp_path / "t.py", HASHES)


def test_a_prompt_with_braces_and_marks_stays_text() -> None:
    assert filled(TEXT, "a {cat} <|R|>", ("<|R|>",)) == [
        "Look.\nTextual prompt - a {cat} <|R|>\n Rate: ", "<|R|>", " \n"
    ]  # fmt: skip
