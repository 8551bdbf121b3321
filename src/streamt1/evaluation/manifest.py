"""What an evaluation's folder holds, so that nothing else is mixed into it."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from streamt1.config.load import config_of
from streamt1.config.schema import RunConfig
from streamt1.core.devices import resolve_device
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.core.files import write_whole
from streamt1.core.json_text import parse_json
from streamt1.core.provenance import commit
from streamt1.core.weights import bundled_path
from streamt1.evaluation.judge import POCKET, check_judge
from streamt1.evaluation.suites import Suite, checked_suite
from streamt1.families.fingerprint import fingerprints

NAME = "manifest.json"
_MADE: dict[str, Any] = {"versions": dict, "machine": str, "commit": (str, type(None))}
_PARTS: dict[str, Any] = {"matters": dict, "suite": dict, "config": dict, **_MADE}
_ASIDE = {"about", "device", "models", "threads", "policy", "limits"}
"""Keys of a configuration that do not decide what is measured."""


def check_rows(rows: Path) -> None:
    """Raises ``ConfigError`` for rows without a manifest beside them."""
    if rows.exists() and rows.stat().st_size and not rows.with_name(NAME).exists():
        raise ConfigError(f"{rows.parent} holds rows, but no {NAME} that says of what; use another --out")


def claim(folder: Path, suite: Suite, config: RunConfig) -> dict[str, Any]:
    """Writes the manifest of a new evaluation, or checks that the folder's is the same; returns it.

    Raises:
        ConfigError: the folder holds an evaluation of another suite, configuration, weights or device.
        OutputError: the folder cannot be written.
    """
    asked = {part: _digest(value) for part, value in _what_matters(suite, config).items()}
    path = folder / NAME
    if path.exists():
        held = read_manifest(folder)
        keys = _differing(_today(held["config"]), config.model_dump(mode="json"))
        other = [part for part, digest in asked.items() if held["matters"].get(part) != digest]
        if held["matters"].get("weights") == _digest("") and "weights" in other:  # an older version did not ask
            other.remove("weights")
        if not keys and "configuration" in other:  # an older version wrote it under other keys, or without newer ones
            other.remove("configuration")
        if other:
            named = f" ({', '.join(keys)})" if keys and "configuration" in other else ""
            back = _settings(_today(held["config"]), keys) if named and other == ["configuration"] else ""
            raise ConfigError(
                f"{folder} holds an evaluation of another {', '.join(other)}{named}; {back}use another --out"
            )
        return held
    manifest = {
        "matters": asked,
        "suite": suite.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
        **_provenance(),
    }
    write_whole(path, (json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def go_on(folder: Path) -> None:
    """Notes under ``later`` with what the clips that follow are made, where that is not what made those before.

    The code itself is not compared: whoever goes on after a change to it decides that, and the report tells. Raises
    ``ConfigError`` and ``OutputError``.
    """
    held, now = read_manifest(folder), _provenance()
    before = [held, *held.get("later", [])]
    if not any(all(one[part] == now[part] for part in now) for one in before):
        held["later"] = [*before[1:], now]
        write_whole(folder / NAME, (json.dumps(held, indent=2) + "\n").encode())


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises ``ConfigError`` where there is none, or a damaged one."""
    try:
        held = parse_json((folder / NAME).read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{folder} holds no evaluation that can be read: {folder / NAME}: {reason}") from error
    wrong = "it holds no keys" if not isinstance(held, dict) else _wrong_part(held)
    if wrong:
        raise ConfigError(f"{folder} holds no evaluation that can be read: {folder / NAME}: {wrong}; use another --out")
    return held


def _wrong_part(held: dict[str, Any]) -> str:
    """What is missing, or of another kind; empty where all is there."""
    for name, kinds in _PARTS.items():
        if not isinstance(held.get(name), kinds):
            return f"{name} is missing, or not what it should be"
    later = held.get("later", [])
    if not isinstance(later, list) or not all(isinstance(one, dict) and _MADE.keys() <= one.keys() for one in later):
        return "later must list versions, machines and commits"
    if not all(isinstance(value, str) for value in (*held["versions"].values(), *held["matters"].values())):
        return "versions and matters must be words"
    return ""


def read_suite(folder: Path) -> Suite:
    """The suite of an evaluation's folder. Raises ``ConfigError``."""
    try:
        return checked_suite(read_manifest(folder)["suite"])
    except UnknownNameError as error:
        raise ConfigError(f"{folder / NAME}: {error}") from error


def begun_suite(folder: Path, name: str, preset: str | None = None, judge: str | None = None) -> Suite:
    """The suite that an evaluation was begun with, under another judge where one is given.

    What it asked before is then not asked: its answers were to be counted in the judge that it named.

    Raises:
        ConfigError: the folder holds no evaluation, or that of another suite or preset.
        UnknownNameError: the judge is no column of this model's clips.
    """
    held, manifest = read_suite(folder), read_manifest(folder)
    for what, asked, found in (("suite", name, held.name), ("preset", preset or held.preset, held.preset)):
        if asked != found:
            raise ConfigError(f"{folder} holds an evaluation of the {what} {found!r}, not of {asked!r}")
    if judge in (None, held.judge):
        return held
    check_judge(config_of(manifest["config"]), judge)
    return held.model_copy(update={"judge": judge, "asked": ()})


def _today(held: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration in the keys of this version, those it does not know yet at their defaults."""
    try:
        return config_of(held).model_dump(mode="json")
    except ConfigError:
        return held


def _differing(held: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, or that only one side has."""
    keys = []
    for key in sorted(held.keys() | asked.keys()):
        old, new = held.get(key), asked.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            keys += _differing(old, new, f"{prefix}{key}.")
        elif (old != new or (key in held) != (key in asked)) and prefix + key not in _ASIDE:
            keys.append(prefix + key)
    return keys


def _settings(held: dict[str, Any], keys: list[str]) -> str:
    """How to go on with what is held, where settings say it; a preset may have changed since."""
    told = []
    for key in keys:
        value: Any = held
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, (int, float)):
            return ""
        told.append(f"--set {key}={json.dumps(value)}")
    return f"go on with {' '.join(told)}, or "


def _what_matters(suite: Suite, config: RunConfig) -> dict[str, Any]:
    count = max(length.prompts * len(set(length.scenes)) for length in suite.lengths)
    told = {**suite.model_dump(mode="json", exclude={"about", "judge", "asked"}), "prompts": suite.texts(count)}
    if suite.prompts == "stories":
        told["prompts"] = [suite.scripts(length) for length in suite.lengths]
    for part in told["lengths"], told["variants"].values():  # as versions wrote it that knew no scenes and no memory
        for one in part:
            for newer, usual in (("scenes", "A"), ("memory", {})):
                if one.get(newer) == usual:
                    del one[newer]
    return {
        "suite": told,
        "configuration": config.model_dump(mode="json", exclude=_ASIDE),
        "weights": _weights() if config.backbone in POCKET else fingerprints(config) if config.files else "",
        "device": config.device if config.device == "cuda" else resolve_device(config.device).type,
    }


def _weights() -> dict[str, str]:
    folder = bundled_path("any").parent
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _provenance() -> dict[str, Any]:
    return {
        "versions": {"streamt1": version("streamt1"), "torch": torch.__version__, "python": platform.python_version()},
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
    }


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
