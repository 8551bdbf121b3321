"""JSON that others wrote: read without surprise, whatever it holds. The one reader of this package."""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 64
"""Brackets within brackets; our own files have fewer than ten."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How half a character (a surrogate) is written; a pair of them is a whole one."""


class JsonError(ValueError):
    """A text that cannot be read as JSON; the message is one short clause."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        JsonError: it is no JSON, is nested deeper than ``DEEPEST``, names a key twice in one object, or holds text
            that no file can hold.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(text, object_pairs_hook=_object)
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError("it is not UTF-8 text") from error
    except RecursionError as error:
        raise JsonError("it is nested too deeply") from error
    except ValueError as error:
        raise JsonError(str(error).split("\n")[0][:100]) from error
    if text.count("[") + text.count("{") > DEEPEST and depth_of(value) > DEEPEST:
        raise JsonError(f"it is nested more than {DEEPEST} deep")
    if _HALF.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise JsonError("it holds half of a character (a lone surrogate)") from error
    return value


def depth_of(value: Any) -> int:
    """How deep lists and mappings are nested; 0 for a plain value. Needs no recursion."""
    deepest, left = 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        if isinstance(one, (dict, list)):
            deepest = max(deepest, depth)
            left += [(inner, depth + 1) for inner in (one.values() if isinstance(one, dict) else one)]
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise JsonError(f"the key {twice[:60]!r} stands twice in one object")
    return found
