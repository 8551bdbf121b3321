"""Keys and values that users write, checked against what they may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from streamt1.core.errors import ConfigError, UnknownNameError

T = TypeVar("T", bound=BaseModel)


def check_names(kind: str, given: Iterable[Any], known: Iterable[str]) -> None:
    """Raises ``UnknownNameError`` for the first given name that is not known; ``kind``: what the names are."""
    known = list(known)
    for name in given:
        if name not in known:
            raise UnknownNameError(kind, str(name), known)


def validated(cls: type[T], keys: Mapping[str, Any], kind: str) -> T:
    """The model that holds these keys. Raises ``ConfigError`` that names the first key whose value is wrong."""
    check_names(kind, keys, cls.model_fields)
    try:
        return cls.model_validate(keys)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{kind} {where!r} = {first['input']!r}: {first['msg']}") from error
