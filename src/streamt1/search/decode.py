"""Decode: candidates' chunks, or previews of them, become pixels for the rewards, in batches that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from streamt1.core.protocols import Models
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.state import Candidate, Draw, check_count


def decode(
    models: Models, config: SearchConfig, draws: Sequence[Draw], latents: Tensor, first: int, kind: str, cost: CostMeter
) -> list[Candidate]:
    """Candidates out of their draws and clean latents ``[N, F, C, H, W]``, each decoded once, over its parent's state.

    Args:
        first: id of the first candidate; the others count on.
        kind: what the time is spent on, ``decode`` or ``preview``.
    """
    count = "latents_decoded" if models.draft is None else "latents_drafted"
    candidates: list[Candidate] = []
    for rows in batches(len(draws), config.candidate_batch):
        batch, part = draws[rows], latents[rows]
        with cost.spend(kind, **{count: part.shape[0] * part.shape[1]}):
            frames, states = models.scoring_decoder.decode([draw.parent.decoder_state for draw in batch], part)
        check_count("the decoder's frames", len(frames), len(batch))
        check_count("the decoder's states", len(states), len(batch))
        for made in zip(batch, part, frames, states):
            draw, *parts = made
            candidates.append(Candidate.of(draw, first + len(candidates), *parts))
    return candidates


def batches(count: int, size: int | None) -> Iterator[slice]:
    """Rows ``0..count`` in parts of ``size``; None is all at once."""
    size = size or count
    return (slice(begin, begin + size) for begin in range(0, count, size))
