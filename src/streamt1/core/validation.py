"""Keys and values that users write, checked against what they may be."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from streamt1.core.errors import ConfigError, UnknownNameError

T = TypeVar("T", bound=BaseModel)
_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_NUMBER = re.compile(r"\b(int|float)\b")
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


def check_no_switch(kind: str, given: Any, made: Any, name: str = "") -> None:
    """Raises ``ConfigError`` that names a key whose value is true or false, and was taken for a number.

    Args:
        given: keys and values, or a list of them, as the user wrote them.
        made: what they became, in the same shape.
    """
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        for key in given.keys() & made.keys():
            check_no_switch(kind, given[key], made[key], f"{name}.{key}" if name else str(key))
    elif isinstance(given, (list, tuple)) and isinstance(made, (list, tuple)):
        for one, became in zip(given, made):
            check_no_switch(kind, one, became, name)
    elif isinstance(given, bool) and isinstance(made, Real) and not isinstance(made, bool):
        raise ConfigError(f"{kind} {name!r} = {given} must be a number")


def check_numbers(record: Any) -> None:
    """The same of a dataclass that was made in Python: its fields that are numbers by their types hold no bool."""
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        if isinstance(value, bool) and "bool" not in str(one.type) and _NUMBER.search(str(one.type)):
            raise ConfigError(f"{one.name}={value} must be a number")


def check_whole(name: str, value: Any) -> None:
    """Raises ``ConfigError`` for an argument that is no whole number: true and false are none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name}={repr(value)[:SHOWN]} must be a whole number")


def validated(cls: type[T], keys: Mapping[str, Any], kind: str) -> T:
    """The model that holds these keys. Raises ``ConfigError`` that names the first key whose value is wrong."""
    check_names(kind, keys, cls.model_fields)
    try:
        made = cls.model_validate(keys)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given, told = repr(first["input"]), " ".join(first["msg"].split())
        given = given if len(given) <= SHOWN else f"{given[:SHOWN]}..."
        raise ConfigError(f"{kind} {where!r} = {given}: {told}") from error
    check_no_switch(kind, keys, made.model_dump())
    return made


def parse_size(text: str) -> float:
    """``24GB``, ``80 GiB`` or a number of bytes -> bytes. Raises ``ConfigError``."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in _UNITS:
        raise ConfigError(f"{text!r} is not an amount of memory; write it like 24GB")
    if not match[2] and float(match[1]) < 1000:
        raise ConfigError(f"{text!r} would be {float(match[1]):g} bytes; write it like 24GB")
    return float(match[1]) * _UNITS[match[2].upper()]
