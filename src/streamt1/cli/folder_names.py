"""A folder for each prompt of a file: its number, and as much of the prompt as a name may hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

LONGEST = 80
"""Bytes of a name; file systems allow 255, and a path has several."""
_JOINERS = "\u200d\ufe0f"
"""What holds an emoji's parts together."""


def folder_names(prompts: Sequence[str]) -> list[str]:
    """``003-a-red-circle``: sorts as the prompts do, tells what is inside, in any script; no two are the same."""
    return [_named(f"{index:03}", prompt) for index, prompt in enumerate(prompts)]


def _named(number: str, prompt: str) -> str:
    words = "".join(char if _kept(char) else "-" for char in unicodedata.normalize("NFC", prompt.lower()))
    joined = "-".join(word for word in words.split("-") if word.strip(_JOINERS))
    room = LONGEST - len(number) - 1
    told = joined.encode()[:room].decode(errors="ignore").rstrip("-" + _JOINERS)
    return f"{number}-{told}" if told else number


def _kept(char: str) -> bool:
    """Letters, marks and digits of any script, and pictures; nothing that a shell or a file system reads."""
    kind = unicodedata.category(char)
    told = kind[0] in "LM" or kind == "Nd" or char in _JOINERS
    return told or (kind in ("No", "Nl", "So", "Sk") and ord(char) > 127)
