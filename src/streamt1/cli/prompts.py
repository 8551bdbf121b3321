"""Files of prompts."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from streamt1.core.errors import PromptError, warn
from streamt1.core.words import counted

LARGEST = 10_000_000
"""Bytes; a hundred thousand prompts."""
_OTHERS = ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"),
           (codecs.BOM_UTF16_BE, "UTF-16"))  # fmt: skip


def read_prompts(file: Path) -> list[str]:
    """The prompts of a UTF-8 text file, one per line.

    Blank lines and those that begin with ``#`` do not count. A prompt that stands there twice is taken once, with a
    warning. Raises ``PromptError``.
    """
    told = "save it as UTF-8 text, one prompt per line"
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except OSError as error:
        raise PromptError(f"cannot read the prompts file {file}: {error.strerror or error}") from error
    if len(content) > LARGEST:
        raise PromptError(f"the prompts file {file} is too large (at most {LARGEST} bytes): split it")
    for mark, kind in _OTHERS:
        if content.startswith(mark):
            raise PromptError(f"the prompts file {file} is {kind}: {told}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(f"the prompts file {file} is not UTF-8 (at byte {error.start}): {told}") from error
    if "\0" in text:
        raise PromptError(f"the prompts file {file} holds zero bytes, perhaps UTF-16 or no text at all: {told}")
    lines = [line.strip() for line in re.split(r"\r\n?|\n", text)]
    given = [line for line in lines if line and not line.startswith("#")]
    prompts = list(dict.fromkeys(given))
    if not prompts:
        raise PromptError(f"the prompts file {file} holds no prompt: write one per line")
    if len(prompts) < len(given):
        warn(f"{file} names {counted(len(given) - len(prompts), 'prompt')} more than once; each is made once")
    return prompts
