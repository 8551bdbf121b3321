"""What a user asks for in words: checked before any model is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from streamt1.assemble.config import RunConfig
from streamt1.core.errors import ConfigError, PromptError
from streamt1.core.pocket_words import tokenize

READERS: dict[str, Callable[[str], object]] = {"pocket": tokenize, "pocket-base": tokenize}
"""By backbone: what raises ``PromptError`` for words that it does not know. The others read any text."""


def check_words(config: RunConfig, prompt: str) -> None:
    """Raises ``PromptError`` for a prompt that a configuration's backbone cannot read."""
    if not prompt.strip():
        raise PromptError("the prompt is empty: say what the video should show")
    READERS.get(config.backbone, str)(prompt)


def parse_budget(text: str) -> dict[str, Any]:
    """``200`` -> model passes, ``60s`` -> seconds, as search settings. Raises ``ConfigError``."""
    key, kind, number = ("budget_seconds", float, text[:-1]) if text.endswith("s") else ("budget_passes", int, text)
    try:
        value = kind(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"budget {text!r} is neither a number of model passes (200) nor of seconds (60s)")
    return {key: value}
