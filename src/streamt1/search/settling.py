"""Which chunks can leave while the search goes on: those that all beams share, or that a fixed lag forces."""

from __future__ import annotations

from collections.abc import Sequence

Lineage = tuple[int, ...]
"""Candidate ids of a beam's chunks, first to last."""


def shared_chunks(lineages: Sequence[Lineage]) -> int:
    """How many first chunks all beams have in common: whatever wins, the video begins with them."""
    shared = 0
    for ids in zip(*lineages):
        if len(set(ids)) > 1:
            break
        shared += 1
    return shared


def within_lag(lineages: Sequence[Lineage], lag: int) -> list[int]:
    """Indices of the beams that may stay when the chunk ``lag`` chunks ago must be decided now.

    The first beam is the best and decides; those that descend from another chunk go. Lag 0 keeps the best alone, which
    makes the search greedy over its candidates.
    """
    place = len(lineages[0]) - 1 - lag
    if place < 0:
        return list(range(len(lineages)))
    return [index for index, ids in enumerate(lineages) if ids[place] == lineages[0][place]]
