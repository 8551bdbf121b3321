"""Valid inputs made invalid: bytes flipped, cut, doubled; values of JSON exchanged, lost, nested."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 100_000_000, 0.5, 1e308, -1e308, "", "x", "0",
    "nan", "inf", "../../etc/passwd", "/dev/zero", "a" * 5000, "\0", "\ud800", "[/]", "[red]", "{text}", "%s", "é中😀",
    [], {}, [[]], [None], {"": None}, [0] * 1000, {"a": {"b": {"c": 1}}}, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
TOKENS = [
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 3000, b"{" * 3000, b'{"":' * 999, b"]", b"}", b'"', b"'",
    b",", b":", b"\n", b"\r\n", b"null", b"NaN", b"Infinity", b"-", b"1e999", b"9" * 5000, b"&a ", b"*a", b"<<: *a",
    b"!!python/object/apply:os.system ['touch /tmp/streamt1-fuzz-canary']", b"!!binary x", b"- - - - -", b"? ", b"| ",
    b"\\ud800", b"\xed\xa0\x80", b"../", b"#", b"%", b"\t", b"{{7*7}}", b"<script>", b"12:30:45", b".inf", b"\x80\x04.",
]  # fmt: skip
_FRACTIONS = st.integers(0, 10_000)


@st.composite
def mutated(draw: st.DrawFn, *valid: bytes) -> bytes:
    """One of the valid texts after one to four changes."""
    content = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["flip", "insert", "token", "cut", "delete", "double", "swap", "fill"]))
        place = draw(_FRACTIONS) * (len(content) + 1) // 10_001
        length = draw(st.one_of(st.integers(1, 16), st.integers(1, max(1, len(content)))))
        part = content[place : place + length]
        if kind == "flip" and content:
            at = min(place, len(content) - 1)
            content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
        elif kind == "insert":
            content = content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]
        elif kind == "token":
            content = content[:place] + draw(st.sampled_from(TOKENS)) + content[place:]
        elif kind == "cut":
            content = content[:place]
        elif kind == "delete":
            content = content[:place] + content[place + length :]
        elif kind == "double":
            content = content[:place] + part * draw(st.integers(2, 9)) + content[place + length :]
        elif kind == "swap":
            content = content[place:] + content[:place]
        else:
            content = (
                content[:place] + draw(st.sampled_from([b"\0", b"\xff", b" "])) * len(part) + content[place + length :]
            )
    return content


@st.composite
def mutated_value(draw: st.DrawFn, valid: Any) -> Any:
    """A JSON value after one to three changes somewhere in it."""
    value = [copy.deepcopy(valid)]
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        holder, key = places[draw(_FRACTIONS) * len(places) // 10_001]
        kind = draw(st.sampled_from(["nasty", "nasty", "nasty", "delete", "nest", "double", "random"]))
        if kind == "nasty":
            holder[key] = copy.deepcopy(draw(st.sampled_from(NASTY)))
        elif kind == "delete" and holder is not value:
            del holder[key]
        elif kind == "nest":
            for _ in range(draw(st.sampled_from([1, 2, 70, 300]))):
                holder[key] = [holder[key]] if draw(st.booleans()) else {"a": holder[key]}
        elif kind == "double":
            holder[key] = [holder[key]] * 3
        elif kind == "random":
            holder[key] = draw(json_values)
    return value[0]


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def json_texts(valid: Any) -> st.SearchStrategy[bytes]:
    """Texts of JSON: changed as values, changed as bytes, or anything at all."""
    return st.one_of(mutated_value(valid).map(as_json), mutated(as_json(valid)), json_values.map(as_json), garbage)


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    left = [value]
    while left and len(found) < 5000:
        holder = left.pop()
        keys = range(len(holder)) if isinstance(holder, list) else list(holder)
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                left.append(holder[key])
    return found


_plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from([0, 1, 2, 4, 8])
)
_keys = st.text(max_size=8)
json_values = st.recursive(
    _plain,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_keys, inner, max_size=4)),
    max_leaves=12,
)
garbage = st.one_of(
    st.binary(max_size=200), st.sampled_from([b"", b"{}", b"null", b"[]", b"5", b"[" * 100_000, b'{"a":' * 50_000])
)
