"""Files of prompts."""

from __future__ import annotations

from pathlib import Path

from streamt1.core.errors import PromptError


def read_prompts(file: Path) -> list[str]:
    """The prompts of a text file, one per line; blank lines do not count. Raises ``PromptError``."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PromptError(f"cannot read the prompts file {file}: {reason}") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise PromptError(f"the prompts file {file} holds no prompt: write one per line")
    return prompts
