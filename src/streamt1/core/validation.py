"""Keys and values that users write, checked against what they may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from streamt1.core.errors import ConfigError, UnknownNameError

T = TypeVar("T", bound=BaseModel)
SHOWN = 80
"""Characters of a value, or of a name, that a message repeats."""


def check_names(kind: str, given: Iterable[Any], known: Iterable[str]) -> None:
    """Raises ``UnknownNameError`` for the first given name that is not known; ``kind``: what the names are."""
    known = list(known)
    for name in given:
        if name not in known:
            raise UnknownNameError(kind, str(name)[:SHOWN], known)


def check_plain(kind: str, keys: Mapping[str, Any]) -> None:
    """Raises ``ConfigError`` that names a key, dotted, whose value is NaN, infinite, or text that no file can hold."""
    left: list[tuple[str, Any]] = list(keys.items())
    while left:
        name, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{name}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            left += [(name, one) for one in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{kind} {name!r} = {value} must be a finite number")
        elif isinstance(value, str) and not is_text(value):
            raise ConfigError(f"{kind} {name!r} = {value[:SHOWN]!r} holds bytes that are no UTF-8 text; rename it")


def is_text(value: str) -> bool:
    """Whether a file can hold it: no half of a character, as bytes that are no UTF-8 become on the command line."""
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def validated(cls: type[T], keys: Mapping[str, Any], kind: str) -> T:
    """The model that holds these keys. Raises ``ConfigError`` that names the first key whose value is wrong."""
    check_names(kind, keys, cls.model_fields)
    try:
        return cls.model_validate(keys)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given, told = repr(first["input"]), " ".join(first["msg"].split())
        given = given if len(given) <= SHOWN else f"{given[:SHOWN]}..."
        raise ConfigError(f"{kind} {where!r} = {given}: {told}") from error
