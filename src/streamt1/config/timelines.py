"""Timelines that users write: our YAML, LongLive's JSONL, Scope's JSON, or pairs in Python. Told apart by their keys.

What is read says how long scenes are in seconds, chunks or latent frames, or does not say; only loaded models know
which chunks those are (``pipeline.timelines``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args

from streamt1.config.yaml_text import parse_yaml, read_text
from streamt1.core.errors import SHOWN, ConfigError, PromptError
from streamt1.core.json_text import JsonError, parse_json
from streamt1.core.timeline import Switch

LARGEST = 10_000_000
"""Bytes of a file."""
MOST_SCENES = 1000
"""More than a video of a day with a scene every two minutes has."""
MOST_CHUNKS = 10**9
"""Of a scene: more than twenty years."""
YAML_LARGEST, YAML_MOST = 2_000_000, 100_000
"""Characters of a YAML file, and values in it: more than scenes are allowed, so that it is these that are counted."""
ROUNDING = 1e-3
"""Seconds by which the end of one scene and the beginning of the next may differ."""
_LENGTH = re.compile(r"\s*(?P<number>[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?)\s*(?P<unit>s|chunks)?\s*")
_KEYS = ("prompt", "seconds", "chunks", "memory")


@dataclass(frozen=True)
class ToldScene:
    """A scene as it was given.

    Attributes:
        seconds, chunks: its length, in at most one of both.
        latent: latent frame that it begins at, where scenes are told by their beginnings.
        memory: see ``core.timeline.Scene``.
    """

    prompt: str
    seconds: float | None = None
    chunks: int | None = None
    memory: Switch | None = None
    latent: int | None = None


def told_scenes(given: Sequence[Any], where: str = "the timeline") -> list[ToldScene]:
    """Scenes of pairs ``(prompt, seconds)``, of mappings with ``prompt`` and ``seconds`` or ``chunks``, or of prompts.

    Args:
        where: what is read, for messages.

    Raises:
        ConfigError, PromptError: it names the scene, from 1.
    """
    if not isinstance(given, (list, tuple)):
        kind = type(given).__name__
        raise ConfigError(f"{where} is of type {kind}: give a prompt, or a list of scenes such as [('a red ball', 5)]")
    if len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], Real):
        raise ConfigError(f"{where} is one scene, {given!r}: put it into a list, [{given!r}]")
    _check_count(given, where)
    return [_told(one, f"scene {number} of {where}") for number, one in enumerate(given, 1)]


def read_timeline(path: Path) -> list[ToldScene]:
    """The scenes of a file. Raises ``ConfigError`` and ``PromptError``, which name the file and the scene."""
    content = _parsed(read_text(path, "the timeline", LARGEST), path)
    if isinstance(content, Mapping) and "scenes" in content:
        for key in content.keys() - {"scenes"}:
            raise ConfigError(f"{path} has the key {str(key)[:SHOWN]!r}: a timeline has scenes, and nothing else")
        return told_scenes(_listed(content["scenes"], "scenes", path), str(path))
    if isinstance(content, Mapping) and "prompts" in content:
        prompts = _listed(content["prompts"], "prompts", path)
        if prompts and isinstance(prompts[0], Mapping):
            return _of_scope(prompts, path)
        return _of_longlive(prompts, content.get("switch_frame_indices"), path)
    raise ConfigError(
        f"{path} is no timeline: it has neither scenes (prompt and seconds each) nor prompts (LongLive, Scope)"
    )


def scene_of(text: str) -> ToldScene:
    """``PROMPT@5``, or ``PROMPT@3chunks``, of the command line. Raises ``ConfigError`` and ``PromptError``."""
    prompt, at, length = text.rpartition("@")
    where = f"--scene {text[:SHOWN]!r}"
    if not at:
        return _told(text, where)
    told = _LENGTH.fullmatch(length)
    if told is None:
        raise ConfigError(f"{where}: {length[:SHOWN]!r} is no length; write PROMPT@SECONDS, as 'a red ball@5'")
    number = float(told["number"])
    if told["unit"] != "chunks":
        return _told({"prompt": prompt, "seconds": number}, where)
    if not number.is_integer():
        raise ConfigError(f"{where}: {length[:SHOWN]} is no whole number of chunks")
    return _told({"prompt": prompt, "chunks": int(number)}, where)


def _told(one: Any, where: str) -> ToldScene:
    if isinstance(one, ToldScene):
        return one
    if isinstance(one, str):
        one = {"prompt": one}
    elif isinstance(one, (list, tuple)) and len(one) == 2:
        one = {"prompt": one[0], "seconds": one[1]}
    if not isinstance(one, Mapping):
        raise ConfigError(f"{where} is {str(one)[:SHOWN]!r}: give its prompt and seconds")
    for key in one.keys() - set(_KEYS):
        raise ConfigError(f"{where} has the key {str(key)[:SHOWN]!r}; known: {', '.join(_KEYS)}")
    prompt, seconds, chunks, memory = (one.get(key) for key in _KEYS)
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError(f"{where} has no prompt: say what it should show")
    if seconds is not None and chunks is not None:
        raise ConfigError(f"{where} has seconds and chunks: give one of both")
    if memory is not None and memory not in get_args(Switch):
        raise ConfigError(f"{where}: memory={str(memory)[:SHOWN]!r} is none of {', '.join(get_args(Switch))}")
    if chunks is not None and (not isinstance(chunks, Integral) or isinstance(chunks, bool) or chunks < 1):
        raise ConfigError(f"{where}: chunks={repr(chunks)[:SHOWN]} must be a whole number of at least 1")
    if chunks is not None and int(chunks) > MOST_CHUNKS:
        raise ConfigError(
            f"{where}: chunks={str(chunks)[:SHOWN]} is more than {MOST_CHUNKS}, of which no video has more"
        )
    length = None if seconds is None else _seconds(seconds, "seconds", where)
    return ToldScene(prompt, length, None if chunks is None else int(chunks), memory)


def _of_longlive(prompts: Sequence[Any], indices: Any, path: Path) -> list[ToldScene]:
    """Prompts, and the latent frames at which all but the first of them begin."""
    told = told_scenes(prompts, str(path))
    if any(not isinstance(prompt, str) for prompt in prompts):
        raise ConfigError(f"{path}: prompts are to be texts, or Scope's entries, and not both")
    if indices is None:
        return told
    indices = _listed(indices, "switch_frame_indices", path)
    if len(indices) != len(told) - 1:
        raise ConfigError(f"{path} has {len(told)} prompts and {len(indices)} switch_frame_indices: give one fewer")
    scenes, last = [told[0]], -1
    for number, (scene, index) in enumerate(zip(told[1:], indices), 2):
        if type(index) is not int or index <= last or index > 2**40:
            where = f"scene {number} of {path} begins at latent frame {str(index)[:SHOWN]}"
            raise ConfigError(f"{where}: they must be whole numbers that rise from 0")
        scenes.append(ToldScene(scene.prompt, latent=index))
        last = index
    return scenes


def _of_scope(entries: Sequence[Any], path: Path) -> list[ToldScene]:
    """Entries with ``startTime``, ``endTime`` and ``prompts``, of which each has one text."""
    _check_count(entries, str(path))
    scenes, now = [], 0.0
    for number, entry in enumerate(entries, 1):
        where = f"scene {number} of {path}"
        if not isinstance(entry, Mapping) or not {"startTime", "endTime"} <= entry.keys():
            raise ConfigError(f"{where} needs startTime, endTime and prompts")
        begin, end = (_seconds(entry[key], key, where, least=0.0) for key in ("startTime", "endTime"))
        if begin < now - ROUNDING:
            raise ConfigError(f"{where} begins at {begin:g} s, before the one before it ends ({now:g} s)")
        if begin > now + ROUNDING:
            raise ConfigError(f"{where} begins at {begin:g} s and leaves a gap: the one before it ends at {now:g} s")
        if end <= begin:
            raise ConfigError(f"{where} ends at {end:g} s, not after it begins ({begin:g} s)")
        scenes.append(_told((_one_text(entry, where), end - begin), where))
        now = end
    return scenes


def _one_text(entry: Mapping[str, Any], where: str) -> Any:
    texts = entry.get("prompts", entry.get("text"))
    if isinstance(texts, str):
        return texts
    if not isinstance(texts, Sequence) or not all(isinstance(one, Mapping) for one in texts):
        raise ConfigError(f"{where} needs prompts, a list of texts with weights")
    if len(texts) != 1:
        raise ConfigError(f"{where} has {len(texts)} prompts: these models read one text at a time, and cannot blend")
    return texts[0].get("text")


def _seconds(value: Any, name: str, where: str, least: float | None = None) -> float:
    """A finite number of seconds, above 0 or at least ``least``."""
    number = _float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not abs(number) < 2**53:
        raise ConfigError(f"{where}: {name}={repr(value)[:SHOWN]} is to be a number of seconds")
    if number < (least or 0.0) or (least is None and number == 0):
        bound = "above 0" if least is None else f"at least {least:g}"
        raise ConfigError(f"{where}: {name}={number:g} must be {bound}")
    return number


def _listed(value: Any, key: str, path: Path) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{path}: {key} is to be a list")
    return value


def _check_count(given: Sequence[Any], where: str) -> None:
    if not given:
        raise ConfigError(f"{where} has no scene: give at least one prompt")
    if len(given) > MOST_SCENES:
        raise ConfigError(f"{where} has {len(given)} scenes, from scene {MOST_SCENES + 1} on too many: split it")


def _parsed(text: str, path: Path) -> Any:
    ending = path.suffix.lower()
    if ending not in (".json", ".jsonl"):
        return parse_yaml(text, str(path), YAML_LARGEST, YAML_MOST)
    lines = [line for line in text.split("\n") if line.strip()]
    if ending == ".jsonl" and not lines:
        raise ConfigError(f"{path} is empty: give a timeline, on one line")
    if ending == ".jsonl" and len(lines) != 1:
        raise ConfigError(f"{path} holds {len(lines)} timelines, a line each: give a file of one")
    try:
        return parse_json(text)
    except JsonError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error


def _float(value: Real) -> float:
    """Infinity for a whole number that is larger than any float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
