"""The rewards' prompt templates, read from the files of their authors: never copied here, never imported.

``streamt1 download`` fetches the files; a constant is used only when its text has the known SHA-256.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from streamt1.core.errors import CheckpointError

LARGEST = 1_000_000
"""Bytes; the authors' files have less than a hundredth of it."""
PLACE = "{text_prompt}"
"""Where a template takes the user's prompt."""


def read_constants(file: Path, hashes: Mapping[str, str]) -> dict[str, str]:
    """Text constants that a Python file assigns at its top level.

    Args:
        file: of which the syntax tree is read; its code never runs.
        hashes: name -> SHA-256 of the text (UTF-8).

    Raises:
        CheckpointError: the file is missing, is not Python, lacks a constant, or has another text in it.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise CheckpointError(f"the prompt template {file} is far too large; download it again")
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120] or "it is nested too deeply"
        raise CheckpointError(f"the prompt template {file} cannot be read ({reason}); download it again") from error
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    for name, expected in hashes.items():
        if name not in found:
            raise CheckpointError(f"{file} assigns no text to {name}: it is not the template file")
        if hashlib.sha256(found[name].encode()).hexdigest() != expected:
            raise CheckpointError(f"{name} in {file} is not the text of the reward's training; download it again")
    return {name: found[name] for name in hashes}


def filled(template: str, prompt: str, marks: tuple[str, ...]) -> list[str]:
    """A template cut at its marks (reward tokens), with the prompt in its place; every other piece is a mark.

    Marks in the *prompt* stay text: what a user writes never becomes a special token.
    """
    pieces = re.split("(" + "|".join(re.escape(mark) for mark in marks) + ")", template)
    return [piece if piece in marks else piece.replace(PLACE, prompt) for piece in pieces]
