"""Counts and places in sentences."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 chunk``, ``2 chunks``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def nth(chunk: int) -> int:
    """A chunk's number for people, who count from 1; indices and traces count from 0."""
    return chunk + 1
