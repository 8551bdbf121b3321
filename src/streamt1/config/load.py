"""Presets, files and overrides become a configuration, checked key by key."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from streamt1.config.schema import RunConfig
from streamt1.config.yaml_text import parse_yaml, read_yaml
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.core.files import packaged_names
from streamt1.core.validation import check_names, check_plain, parse_size, validated
from streamt1.memory import MemoryConfig
from streamt1.search.config import SearchConfig, apply_policy

PRESETS = resources.files("streamt1.config") / "presets"
RENAMED = {"codec": "decoder", "batches.codec": "batches.decoder"}
"""Keys of 0.1, as presets and run folders on users' disks still name them."""
MOST_EXTENDED = 16
"""Presets in a row that extend one another."""
MOST_SHOWN = 80
"""Characters of a user's value that a message repeats."""


def preset_names() -> list[str]:
    """Names of the presets that ship in the package."""
    return packaged_names("streamt1.config", "presets")


def load_config(preset: str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of a preset, with some keys replaced.

    Args:
        preset: a preset's name, or the path of a YAML file of the same form (it may say ``extends: NAME``).
        overrides: dotted keys, such as ``{"search.top_k": 4}``; ``None`` takes one of the ``files`` away.

    Raises:
        UnknownNameError: a preset or key that does not exist; the message names the nearest.
        ConfigError: a value that does not fit.
    """
    merged = _read(preset)
    for key, value in (overrides or {}).items():
        key = _present(key)
        if not all(key.split(".")):
            raise ConfigError(f"config key {key[:MOST_SHOWN]!r} must be words with a dot between them, as search.top_k")
        *parents, leaf = key.split(".")
        target = merged
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"config key {key[:MOST_SHOWN]!r}: {parent[:MOST_SHOWN]!r} has no keys of its own")
        if value is None and parents == ["files"]:
            check_names("files key", [leaf], target)
            del target[leaf]
        else:
            target[leaf] = value
    return config_of(merged)


def config_of(keys: Mapping[str, Any]) -> RunConfig:
    """The configuration of nested keys, such as a stored run's. Raises ``ConfigError`` and ``UnknownNameError``."""
    keys = renamed(keys)
    check_names("config key", keys, RunConfig.model_fields)
    for part, cls in (("memory", MemoryConfig), ("search", SearchConfig)):
        if not isinstance(keys.get(part, {}), dict):
            raise ConfigError(f"config key {part!r} must hold keys and values")
        names = [field.name for field in dataclasses.fields(cls)]
        check_names(f"{part} key", keys.get(part, {}), names)
    check_plain("config key", keys)
    config = validated(RunConfig, keys, "config key")
    check_plain("config key", config.model_dump())
    for name in ("device_memory", "host_memory"):
        _check_amount(name, getattr(config, name))
    config.limits.check_width(apply_policy(config.policy, config.search))
    return config


def _check_amount(name: str, text: str | None) -> None:
    try:
        if text is not None:
            parse_size(text)
    except ConfigError as error:
        raise ConfigError(f"config key {name!r}: {error}") from error


def _present(key: str) -> str:
    """A dotted key whose beginning may be of an older version."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def renamed(keys: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys with older names replaced; a key under its present name wins."""
    found: dict[str, Any] = {}
    for key, value in keys.items():
        name = RENAMED.get(f"{prefix}{key}", f"{prefix}{key}")[len(prefix) :]
        if name == key or name not in keys:
            found[name] = renamed(value, f"{prefix}{key}.") if isinstance(value, dict) else value
    return found


def parse_budget(text: str) -> dict[str, Any]:
    """``200`` -> model passes, ``60s`` -> seconds, as search settings. Raises ``ConfigError``."""
    key, kind, number = ("budget_seconds", float, text[:-1]) if text.endswith("s") else ("budget_passes", int, text)
    try:
        value = kind(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(
            f"budget {text[:MOST_SHOWN]!r} is neither a number of model passes (200) nor of seconds (60s)"
        )
    return {key: value}


def _read(preset: str, beside: Path = Path(), chain: tuple[str, ...] = ()) -> dict[str, Any]:
    """The merged keys of a preset and of what it extends.

    Args:
        beside: the folder that a file's path is relative to: that of the file which extends it.
        chain: the presets that led here.
    """
    if preset.lower().endswith((".yaml", ".yml")):
        path = beside / Path(preset)
        known, own = os.path.realpath(path), read_yaml(path, "the preset file")
        beside, preset = path.parent, str(path)
    elif preset in preset_names():
        known, own = preset, parse_yaml((PRESETS / f"{preset}.yaml").read_text(encoding="utf-8"), preset)
    else:
        raise UnknownNameError("preset", preset[:MOST_SHOWN], preset_names())
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise ConfigError(f"{preset} must hold keys and values, not {type(own).__name__}")
    base: dict[str, Any] = {}
    if "extends" in own:
        extended = own.pop("extends")
        if not isinstance(extended, str):
            raise ConfigError(f"{preset}: extends={str(extended)[:MOST_SHOWN]} must be one preset's name or file")
        if known in chain:
            raise ConfigError(f"{preset} extends itself, by way of {len(chain)} presets; take one 'extends' out")
        if len(chain) >= MOST_EXTENDED:
            raise ConfigError(f"{preset}: more than {MOST_EXTENDED} presets extend one another; join some of them")
        base = _read(extended, beside, (*chain, known))
    own = renamed(own)
    return {**base, **{key: _joined(base.get(key), value) for key, value in own.items()}}


def _joined(base: Any, own: Any) -> Any:
    """Keys of a part over those that it extends; ``null`` takes one away."""
    if not isinstance(own, dict):
        return own
    merged = {**(base if isinstance(base, dict) else {}), **own}
    return {key: value for key, value in merged.items() if value is not None}
