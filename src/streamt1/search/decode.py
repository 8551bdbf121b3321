"""Decode: candidates' chunks, or previews of them, become pixels for the rewards, in batches that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from streamt1.core.errors import NotFiniteError
from streamt1.core.protocols import Decoder, DecoderState, Models
from streamt1.core.remote import Frames, here
from streamt1.search.candidate import Candidate, Draw
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter

Made = tuple[Frames, DecoderState, str | None]
"""Frames, the state after them, and the part that failed, if one did."""
NONE = torch.empty(0, 3, 0, 0)
"""The frames of a candidate that failed, until all have been decoded."""


def decode(
    models: Models, config: SearchConfig, draws: Sequence[Draw], latents: Tensor, first: int, kind: str, cost: CostMeter
) -> list[Candidate]:
    """Candidates out of their draws and clean latents ``[N, F, C, H, W]``, each decoded once, over its parent's state.

    Those whose numbers are not finite have no frames, see ``filled``.

    Args:
        first: id of the first candidate; the others count on.
        kind: what the time is spent on, ``decode`` or ``preview``.
    """
    count = "latents_decoded" if models.draft is None else "latents_drafted"
    made: list[Made] = []
    for rows in batches(models, config, len(draws)):
        states, part = [draw.parent.decoder_state for draw in draws[rows]], latents[rows]
        with cost.spend(kind, **{count: part.shape[0] * part.shape[1]}):
            made += _frames(models, states, part)
    parts = zip(draws, latents, made)
    return [Candidate.of(draw, first + row, own, *each) for row, (draw, own, each) in enumerate(parts)]


def filled(candidates: Sequence[Candidate]) -> list[Candidate]:
    """All candidates of a chunk, with frames of nothing but zeros where they have none.

    Raises:
        NotFiniteError: there is no candidate whose numbers are finite.
    """
    like = next((candidate.chunk.frames for candidate in candidates if candidate.fault is None), None)
    if like is None:
        parts = sorted({candidate.fault for candidate in candidates if candidate.fault})
        raise NotFiniteError(
            f"all {len(candidates)} candidates hold numbers that are not finite (made by the"
            f" {' and the '.join(parts)}); check the weights, or compute in float32"
        )
    failed = any(candidate.fault for candidate in candidates)
    nothing = torch.zeros_like(here(like)) if failed else like
    return [
        candidate if candidate.fault is None else candidate.with_chunk(replace(candidate.chunk, frames=nothing))
        for candidate in candidates
    ]


def batches(models: Models, config: SearchConfig, count: int) -> Iterator[slice]:
    """Rows ``0..count`` in the parts that models are given at once."""
    size = (None if models.one_by_one else config.candidate_batch) or max(count, 1)
    return (slice(begin, begin + size) for begin in range(0, count, size))


def _frames(models: Models, states: Sequence[DecoderState], latents: Tensor) -> list[Made]:
    """What becomes of ``N`` candidates; no frames, its parent's state and the part that failed where one's numbers are
    not finite."""
    decoder = models.scoring_decoder
    if not models.checked:
        return _paired(*decoder.decode(states, latents))
    faults: list[str | None] = [None if ok else "model" for ok in finite_rows(latents)]
    try:
        if not any(faults):
            made = _paired(*decoder.decode(states, latents))
            check_count("the decoder's frames", len(made), len(states))
            if all(_finite(frames) for frames, _, _ in made):
                return made
    except NotFiniteError:
        pass  # a decoder of bytes has found some; below it is seen which
    return [_alone(decoder, state, own, fault) for state, own, fault in zip(states, latents, faults)]


def _paired(frames: Tensor | Sequence[Frames], states: Sequence[DecoderState]) -> list[Made]:
    check_count("the decoder's states", len(states), len(frames))
    return [(own, state, None) for own, state in zip(frames, states)]


def _alone(decoder: Decoder, state: DecoderState, latents: Tensor, fault: str | None) -> Made:
    """One candidate, decoded again by itself."""
    if fault is not None:
        return NONE, state, fault
    try:
        frames, [after] = decoder.decode([state], latents[None])
    except NotFiniteError:
        return NONE, state, "decoder"
    return (frames[0], after, None) if _finite(frames[0]) else (NONE, state, "decoder")


def _finite(frames: Frames) -> bool:
    """Whether all numbers of one candidate's frames are finite."""
    return finite_rows(frames[None])[0] if isinstance(frames, Tensor) else frames.finite


def check_count(what: str, found: int, wanted: int) -> None:
    """Raises ``ValueError`` for a model that gives other than one answer a candidate."""
    if found != wanted:
        raise ValueError(f"{what} gave {found} for {wanted} candidates; it must give one each")


def finite_rows(numbers: Tensor) -> list[bool]:
    """Of ``[N, ...]``: whether all numbers of a row are finite. Bytes always are."""
    if not numbers.is_floating_point():
        return [True] * len(numbers)
    return numbers.flatten(1).sum(1, dtype=torch.float64).isfinite().tolist()
