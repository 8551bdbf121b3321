"""YAML that users write: plain keys and values, read by YAML 1.2's rules for words and numbers. The one YAML reader.

No tags, no key twice, and no more than a bound, which counts an alias for all that it stands for: a kilobyte of aliases
can stand for gigabytes. ``no`` and ``12:30:45`` are words here, as they look; YAML 1.1 reads ``false`` and 45045.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from streamt1.core.errors import ConfigError

LARGEST, MOST_NODES, DEEPEST = 1_000_000, 20_000, 32
"""Bytes of a file, values in it, and how deep they may be nested; our own presets have fewer than 100 values."""
_PREFIX = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE, _FALSE = re.compile(r"true|True|TRUE"), re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9](_?[0-9])*|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9](_?[0-9])*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DIGITS = 400
"""Of a number; a float has at most 309 before its point."""


def parse_yaml(text: str, name: str, largest: int = LARGEST, most: int = MOST_NODES) -> Any:
    """The value of a YAML text; every key of a mapping is text.

    Args:
        name: what the text is, for messages.
        largest, most: characters, and values, that it may hold.

    Raises:
        ConfigError: it is no YAML, or more than a configuration needs: a tag, a key twice, too much, or too deep.
    """
    if len(text) > largest:
        raise ConfigError(f"{name} is far too large for a configuration ({len(text)} characters, at most {largest})")
    try:
        bounds = _Bounds(name, most)
        node = _Loader(text, bounds).get_single_node()
        return None if node is None else _Builder(bounds).value(node)
    except (yaml.YAMLError, ValueError, IndexError) as error:
        raise ConfigError(f"{name} is not valid YAML: {_reason(error)}") from error


def read_yaml(path: Path, what: str) -> Any:
    """:func:`parse_yaml` of a file; ``what`` it is, for messages. Raises ``ConfigError``."""
    return parse_yaml(read_text(path, what, LARGEST), str(path))


def read_text(path: Path, what: str, largest: int) -> str:
    """A UTF-8 file of a user, of at most so many bytes; ``what`` it is, for messages. Raises ``ConfigError``."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ConfigError(f"{what} {path} is far too large (at most {largest} bytes)")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {what} {path}: it is not UTF-8 text; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {what} {path}: {getattr(error, 'strerror', None) or error}") from error


@dataclass(frozen=True)
class _Bounds:
    """What a text is called, and how many values it may hold."""

    name: str
    most: int

    def check(self, nodes: int, depth: int) -> None:
        """Raises ``ConfigError``."""
        if nodes > self.most:
            raise ConfigError(f"{self.name} holds more than {self.most} values: it is no configuration")
        if depth > DEEPEST:
            raise ConfigError(f"{self.name} is nested more than {DEEPEST} deep: it is no configuration")


class _Loader(yaml.SafeLoader):
    """Composes nodes within bounds; makes no Python object of them."""

    def __init__(self, text: str, bounds: _Bounds) -> None:
        self._bounds, self._nodes, self._deep = bounds, 0, 0
        super().__init__(text)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if getattr(event, "tag", None):
            raise ConfigError(
                f"{self._bounds.name}: tags such as {event.tag[:40]} are not read; put the value into quotes"
            )
        self._nodes, self._deep = self._nodes + 1, self._deep + 1
        self._bounds.check(self._nodes, self._deep)
        node = super().compose_node(parent, index)
        self._deep -= 1
        return node


class _Builder:
    """Makes values of nodes; an alias is written out each time, and counts each time."""

    def __init__(self, bounds: _Bounds) -> None:
        self._bounds, self._name, self._made = bounds, bounds.name, 0

    def value(self, node: Any, depth: int = 0) -> Any:
        self._made += 1
        self._bounds.check(self._made, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, depth + 1) for one in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth + 1)
        return node.value if node.style else _plain(node.value, self._name)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, inner in node.value:
            where = f"{self._name}, line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{where}: a key must be a word, not a list or a mapping")
            if key.value in found:
                raise ConfigError(f"{where}: the key {key.value[:60]!r} stands there twice; keep one")
            value = self.value(inner, depth)
            if key.value == "<<" and not key.style:
                if not isinstance(value, dict):
                    raise ConfigError(f"{where}: << must name keys and values to start from")
                merged |= value
            else:
                found[key.value] = value
        return {**merged, **found}


def _plain(text: str, name: str) -> Any:
    """A word without quotes, by the rules of YAML 1.2's core schema, and 1_000 as in 1.1."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return bool(_TRUE.fullmatch(text))
    if len(text) > _DIGITS and (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
        raise ConfigError(f"{name} holds a number of {len(text)} digits; put it into quotes if it is text")
    if _INT.fullmatch(text):
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if endless := _ENDLESS.fullmatch(text):
        return float("nan") if endless[3] else float(f"{endless[1]}inf")
    return text


def _reason(error: Exception) -> str:
    """What is wrong and where, in one line."""
    mark: Any = getattr(error, "problem_mark", None)
    told = getattr(error, "problem", None) or str(error).split("\n")[0]
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{' '.join(str(told).split())[:120]}{place}"
