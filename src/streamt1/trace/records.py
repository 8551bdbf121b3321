"""Stored records become events again, each value checked against the field that it is for."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from streamt1.trace.events import EVENTS, Event

LARGEST = 2**64
"""No number of a run is larger, seeds included."""


def event_from_record(record: Mapping[str, Any]) -> Event:
    """The event of a stored record; fields that are not the event's own (such as a time stamp) are ignored.

    Raises:
        KeyError: the record names no known event, or lacks a field that has no default.
        TypeError: a field's value is of the wrong type.
    """
    cls = EVENTS[record["event"]]
    values = {one.name: record[one.name] for one in fields(cls) if one.name in record or _needed(one)}
    for name, value in values.items():
        if not fits(value, hints_of(cls)[name]):
            raise TypeError(f"{name} cannot be {value!r}")
    return cls(**values)


def _needed(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


@lru_cache
def hints_of(cls: type) -> dict[str, Any]:
    """The types of a class's fields."""
    return get_type_hints(cls)


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``: a plain class, a union, a list or a mapping of these, or ``Any``."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(fits(one, inner[1]) for one in value.values())
    if hint in (int, float):
        number = isinstance(value, (int, hint)) and not isinstance(value, bool)
        return number and abs(value) < LARGEST  # not so for NaN
    return isinstance(value, hint)
