"""The header of a safetensors file, checked against the file: what it tells of each tensor, and where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamt1.core.errors import CheckpointError
from streamt1.core.json_text import parse_json

LARGEST_HEADER = 25_000_000
"""Bytes; the largest models have a tenth of it, and reading more would take gigabytes."""
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64, "F4": 4,
}  # fmt: skip
"""Of a value, by its type's name."""
MOST_SIDES, LONGEST_SIDE = 16, 2**40


@dataclass(frozen=True)
class Words:
    """How messages call a file.

    Attributes:
        noun: what it is.
        cut: what happened to one whose end is missing, as the end of a sentence.
        again: how a damaged one is replaced.
    """

    noun: str
    cut: str
    again: str


WEIGHTS = Words("weights file", "was not downloaded to its end", "delete it and download again")


@dataclass(frozen=True)
class Header:
    """What stands before the tensors of a file.

    Attributes:
        entries: names of tensors -> their type, shape and place.
        texts: what is told besides; empty where it is not made of texts.
        begin: where the first tensor begins, in bytes.
    """

    entries: dict[str, Any]
    texts: dict[str, str]
    begin: int


def safetensors_header(path: Path) -> dict[str, Any]:
    """Names -> type, shape and place of the tensors of a file, without reading them. Raises ``CheckpointError``."""
    return read_header(path).entries


def read_header(path: Path, words: Words = WEIGHTS) -> Header:
    """The header of a file, checked against the file. Raises ``CheckpointError``."""
    damaged = f"{path} is no whole safetensors file"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise CheckpointError(f"{damaged}: its header claims {length} bytes; {words.again}")
            header = parse_json(file.read(length))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{damaged}: its header cannot be read; {words.again}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{damaged}: its header cannot be read (it holds no object); {words.again}")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in entries.items():
        if not _is_entry(entry):
            raise CheckpointError(
                f"{damaged}: its header cannot be read (what it says of {name[:80]!r} cannot be); {words.again}"
            )
    expected = 8 + length + _end_of(entries, damaged, words)
    if size < expected:
        raise CheckpointError(f"{path} {words.cut}: it has {size} of {expected} bytes; {words.again}")
    if size > expected:
        raise CheckpointError(f"{damaged}: it has {size} bytes, its header tells of {expected}; {words.again}")
    texts: Any = header.get("__metadata__")
    plain = isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values())
    return Header(entries, dict(texts) if plain else {}, 8 + length)


def _is_entry(entry: Any) -> bool:
    """Whether an entry has a type, a shape, and a place as large as both say."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape: Any = entry.get("shape")
    place: Any = entry.get("data_offsets")
    if not _are_sizes(shape) or not _are_sizes(place) or len(shape) > MOST_SIDES or len(place) != 2:
        return False
    begin, end = place
    bits = BITS.get(entry["dtype"])
    return begin <= end and (bits is None or (end - begin) * 8 == -(-math.prod(shape) * bits // 8) * 8)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(one) is int and 0 <= one < LONGEST_SIDE for one in values)


def _end_of(entries: dict[str, Any], damaged: str, words: Words) -> int:
    """Where the last tensor ends. Raises ``CheckpointError`` where two overlap, or nothing is between two."""
    end = 0
    for begin, after in sorted(entry["data_offsets"] for entry in entries.values()):
        if begin != end:
            raise CheckpointError(
                f"{damaged}: its tensors overlap, or leave a gap, at byte {min(begin, end)}; {words.again}"
            )
        end = after
    return end
