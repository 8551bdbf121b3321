"""``--set KEY=VALUE``, of all commands that take it."""

from __future__ import annotations

from typing import Any

from streamt1.core.errors import ConfigError

SHOWN = 80
"""Characters of an option that a message repeats."""


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """The values of ``--set KEY=VALUE``, read as YAML. Raises ``ConfigError``."""
    from streamt1.config.yaml_text import parse_yaml

    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {pair[:SHOWN]!r} must read KEY=VALUE")
        if key in settings:
            raise ConfigError(f"--set {key[:SHOWN]!r} is given twice; keep one")
        try:
            settings[key] = parse_yaml(value, f"--set {pair[:SHOWN]!r}")
        except ConfigError as error:
            raise ConfigError(f"{error}; put the value into quotes if it is text") from error
    return settings
