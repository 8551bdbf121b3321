"""Decode: candidates' chunks, or previews of them, become pixels for the rewards, in batches that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from streamt1.core.errors import NotFiniteError
from streamt1.core.protocols import Decoder, DecoderState, Models
from streamt1.search.candidate import Candidate, Draw
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter


def decode(
    models: Models, config: SearchConfig, draws: Sequence[Draw], latents: Tensor, first: int, kind: str, cost: CostMeter
) -> list[Candidate]:
    """Candidates out of their draws and clean latents ``[N, F, C, H, W]``, each decoded once, over its parent's state.

    Args:
        first: id of the first candidate; the others count on.
        kind: what the time is spent on, ``decode`` or ``preview``.

    Raises:
        NotFiniteError: there is no candidate whose numbers are finite.
    """
    count = "latents_decoded" if models.draft is None else "latents_drafted"
    candidates: list[Candidate] = []
    for rows in batches(len(draws), config.candidate_batch):
        batch, part = draws[rows], latents[rows]
        with cost.spend(kind, **{count: part.shape[0] * part.shape[1]}):
            frames, states, faults = _frames(models, [draw.parent.decoder_state for draw in batch], part)
        check_count("the decoder's frames", len(frames), len(batch))
        check_count("the decoder's states", len(states), len(batch))
        for draw, own, pixels, state, fault in zip(batch, part, frames, states, faults):
            candidates.append(Candidate.of(draw, first + len(candidates), own, pixels, state, fault))
    return candidates


def batches(count: int, size: int | None) -> Iterator[slice]:
    """Rows ``0..count`` in parts of ``size``; None is all at once."""
    size = size or count
    return (slice(begin, begin + size) for begin in range(0, count, size))


def _frames(
    models: Models, states: Sequence[DecoderState], latents: Tensor
) -> tuple[Sequence[Tensor], Sequence[DecoderState], list[str | None]]:
    """Frames and states of ``N`` candidates, and the part that failed where a candidate's numbers are not finite.

    What failed has frames of nothing but zeros, and its parent's state. Raises ``NotFiniteError`` where all failed.
    """
    decoder = models.scoring_decoder
    if not models.checked:
        frames, after = decoder.decode(states, latents)
        return list(frames), after, [None] * len(frames)
    faults: list[str | None] = [None if ok else "model" for ok in finite_rows(latents)]
    try:
        if not any(faults):
            frames, after = decoder.decode(states, latents)
            faults = [None if ok else "decoder" for ok in finite_rows(frames)]
            if not any(faults):
                return list(frames), after, faults
    except NotFiniteError:
        pass  # a decoder of bytes has found some; below it is seen which
    return _one_by_one(decoder, states, latents, faults)


def _one_by_one(
    decoder: Decoder, states: Sequence[DecoderState], latents: Tensor, faults: list[str | None]
) -> tuple[Sequence[Tensor], Sequence[DecoderState], list[str | None]]:
    made: list[tuple[Tensor, DecoderState] | None] = []
    for place, state in enumerate(states):
        one = None
        if faults[place] != "model":
            try:
                frames, [after] = decoder.decode([state], latents[place : place + 1])
                one = (frames[0], after) if finite_rows(frames)[0] else None
            except NotFiniteError:
                one = None
            faults[place] = None if one else "decoder"
        made.append(one)
    like = next((one[0] for one in made if one), None)
    if like is None:
        parts = sorted({fault for fault in faults if fault})
        raise NotFiniteError(
            f"all {len(states)} candidates hold numbers that are not finite (made by the {' and the '.join(parts)});"
            " check the weights, or compute in float32"
        )
    nothing = torch.zeros_like(like)
    pairs = [one or (nothing, state) for one, state in zip(made, states)]
    return [frames for frames, _ in pairs], [after for _, after in pairs], faults


def check_count(what: str, found: int, wanted: int) -> None:
    """Raises ``ValueError`` for a model that gives other than one answer a candidate."""
    if found != wanted:
        raise ValueError(f"{what} gave {found} for {wanted} candidates; it must give one each")


def finite_rows(numbers: Tensor) -> list[bool]:
    """Of ``[N, ...]``: whether all numbers of a row are finite. Bytes always are."""
    if not numbers.is_floating_point():
        return [True] * len(numbers)
    return numbers.flatten(1).sum(1, dtype=torch.float64).isfinite().tolist()
