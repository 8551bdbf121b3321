"""The boxes that an MP4 file is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Box = tuple[str, bytes]
HEAD = 8
"""Bytes of a box before its content: size and name."""


def boxes_in(content: bytes) -> Iterator[Box]:
    """The outermost boxes, each with its name and all its bytes, up to the first that is not whole."""
    at = 0
    while (size := int.from_bytes(content[at : at + 4], "big")) >= HEAD and at + size <= len(content):
        yield content[at + 4 : at + HEAD].decode("latin-1"), content[at : at + size]
        at += size


def joined(boxes: Sequence[Box], *names: str) -> bytes:
    """The boxes of these names, one after another."""
    return b"".join(content for name, content in boxes if name in names)


def inner(box: bytes, *names: str) -> bytes | None:
    """What a box within a box holds, found by its way down; None where there is none.

    ``inner(moof, "traf", "tfdt")`` is what the fragment says of its time.
    """
    content = box[HEAD:]
    for name in names:
        found = next((part for part_name, part in boxes_in(content) if part_name == name), None)
        if found is None:
            return None
        content = found[HEAD:]
    return content
