"""What was asked for, as a run's folder keeps it: enough to make the same video again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from streamt1.config.load import config_of
from streamt1.config.schema import RunConfig
from streamt1.core.devices import resolve_device
from streamt1.core.errors import ConfigError, OutputError
from streamt1.core.json_text import parse_json
from streamt1.core.provenance import versions
from streamt1.core.timeline import Scene, Switch, Timeline
from streamt1.families.fingerprint import fingerprints
from streamt1.pipeline.given import Given, read_given
from streamt1.pipeline.run_files import SUMMARY
from streamt1.search.config import SearchConfig, for_endless

WHERE = (
    "about", "placement", "batches", "device_memory", "host_memory", "models", "files", "limits", "effective_search",
)  # fmt: skip
"""Keys of a configuration that say where things are; a run is the same whatever they say."""

ANEW = "delete it and begin anew: generate with --fresh (fresh=True)"
"""What can always be done about a run's folder."""


@dataclass(frozen=True)
class Asked:
    """One run, before it begins.

    Attributes:
        prompt: of the first scene.
        chunks: None for a video without an end.
        config: its policy decides.
        timeline: of several scenes; None for one prompt.
        given: what the video begins with; ``chunks`` and ``timeline`` count its chunks.
    """

    prompt: str
    seed: int
    chunks: int | None
    config: RunConfig
    timeline: Timeline | None = None
    given: Given | None = None

    @property
    def scenes(self) -> Timeline:
        """The timeline, of one scene for one prompt."""
        return self.timeline or Timeline.plain(self.prompt, self.chunks)

    @property
    def search(self) -> SearchConfig:
        """The settings of the search."""
        search = self.config.effective_search
        return for_endless(search) if self.chunks is None else search

    def record(self) -> dict[str, Any]:
        """What ``run.json`` begins with."""
        search = dataclasses.asdict(self.search)
        config = {**self.config.model_dump(mode="json"), "effective_search": search}
        told = {"prompt": self.prompt, "seed": self.seed, "chunks": self.chunks, "config": config}
        if self.timeline is not None:
            told["timeline"] = [dataclasses.asdict(scene) for scene in self.timeline.scenes]
        if self.given is not None:
            told["given"] = self.given.record()
        return parse_json(json.dumps(told))

    @classmethod
    def of(cls, summary: Mapping[str, Any], where: Path) -> Asked:
        """What a ``run.json`` asks for, but for what the video begins with.

        Raises ``OutputError`` for one that does not say, ``ConfigError``.
        """
        try:
            prompt, seed, chunks = summary["prompt"], summary["seed"], summary["chunks"]
            config = {key: value for key, value in summary["config"].items() if key != "effective_search"}
            if not isinstance(prompt, str) or type(seed) is not int or not (chunks is None or type(chunks) is int):
                raise TypeError("a value of the wrong kind")
            timeline = _timeline(summary.get("timeline"))
            if timeline is not None and (timeline.chunks, timeline.scenes[0].prompt) != (chunks, prompt):
                raise TypeError("a timeline that is not as long as the video")
        except (KeyError, TypeError, AttributeError) as error:
            raise OutputError(f"{where} does not say what was asked for ({error}); generate the video again") from error
        return cls(prompt, seed, chunks, config_of(config), timeline)

    @classmethod
    def stored(cls, summary: Mapping[str, Any], folder: Path) -> Asked:
        """What the run in a folder asks for. Raises what ``of`` and ``read_given`` raise."""
        asked, told = cls.of(summary, folder / SUMMARY), summary.get("given")
        return asked if told is None else dataclasses.replace(asked, given=read_given(folder, told))

    def difference(self, summary: Mapping[str, Any]) -> str | None:
        """The first thing that a stored run asked for otherwise, in words; None where it is the same run."""
        own, config = self.record(), _filled(summary)
        told = summary.get("given")
        if self.given is None and told is not None:
            return "it begins with a picture or a video"
        if self.given is not None and not self.given.same(told):
            return "it begins with text alone" if told is None else "it begins with another picture or video"
        for name in ("prompt", "seed", "chunks"):
            if own[name] != summary.get(name):
                return f"{name} {summary.get(name)!r}, not {own[name]!r}"
        if own.get("timeline") != summary.get("timeline"):
            return "another timeline"
        mine, theirs = (_settings(one if isinstance(one, dict) else {}) for one in (own["config"], config))
        for key in sorted({*mine, *theirs}):
            if mine.get(key) != theirs.get(key):
                return f"{key} {theirs.get(key)!r}, not {mine.get(key)!r}"
        return None


def _filled(summary: Mapping[str, Any]) -> Any:
    """The configuration of a stored run; keys that it was written before stand at their defaults."""
    try:
        return Asked.of(summary, Path()).record()["config"]
    except (OutputError, ConfigError):
        return summary.get("config")


def _timeline(told: Any) -> Timeline | None:
    """Raises ``TypeError``, ``AttributeError``, ``KeyError``."""
    if told is None:
        return None
    scenes = []
    for one in told:
        prompt, chunks, memory = one["prompt"], one["chunks"], one["memory"]
        if not isinstance(prompt, str) or not (chunks is None or type(chunks) is int):
            raise TypeError("a scene of the wrong kind")
        if memory is not None and memory not in get_args(Switch):
            raise TypeError(f"a scene with memory {memory!r}")
        scenes.append(Scene(prompt, chunks, memory))
    try:
        return Timeline(tuple(scenes))
    except ConfigError as error:
        raise TypeError(str(error)) from error


def circumstances(config: RunConfig) -> dict[str, Any]:
    """Device, type, weights and versions: what the last bits of a run depend on besides what was asked for."""
    return {
        "resolved": {
            "device": _device(config),
            "dtype": config.dtype,
            "threads": torch.get_num_threads(),
        },
        "weights": fingerprints(config),
        "versions": versions(),
    }


def _device(config: RunConfig) -> str:
    """The device's name; as it was given where this machine has none of that name, and others compute."""
    try:
        return str(resolve_device(config.device))
    except ConfigError:
        return config.device


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what the circumstances of a stored run differ from those of now, in words; see ``circumstances``."""
    found = []
    for part, values in now.items():
        stored = before.get(part)
        for key, value in values.items():
            if isinstance(stored, dict) and stored.get(key, value) != value:
                found.append(f"{key} was {stored[key]} and is {value}")
    return found


def check_same_weights(summary: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """Raises ``ConfigError`` where a file of weights is not the one that a stored run used; ``now``: fingerprints."""
    stored = summary.get("weights")
    for name, print_ in (stored if isinstance(stored, dict) else {}).items():
        if now.get(name) != print_:
            raise ConfigError(f"the weights {name} are not those that this run used; bring them back, or {ANEW}")


def _settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys, but for those that say where things are."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in WHERE:
            continue
        found |= _settings(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
