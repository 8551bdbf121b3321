"""What streaming decoders share: candidates go through in batches, over one parent's state or several parents'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from streamt1.core.devices import Halving
from streamt1.core.errors import NotFiniteError
from streamt1.core.frames import truncated

S = TypeVar("S")


def in_batches(
    batch: Halving,
    decode: Callable[[Sequence[S], Tensor], tuple[Tensor, list[S]]],
    states: Sequence[S],
    latents: Tensor,
) -> tuple[Tensor, list[S]]:
    """Decodes candidates' latents ``[N, F, C, h, w]`` in parts that fit -> all frames ``[N, T, 3, H, W]``, N states.

    Each part's frames go to their place as they come, so that all of them are never held twice.
    """
    frames, count = torch.empty(0), len(latents)

    def part(begin: int, end: int) -> list[S]:
        nonlocal frames
        made, after = decode(states[begin:end], latents[begin:end])
        if not begin:
            frames = made if end == count else made.new_empty(count, *made.shape[1:])
        if end - begin < count:
            frames[begin:end] = made
        return after

    parts = batch.run(part, count)
    return frames, [after for states in parts for after in states]


def bytes_of(frames: Tensor, checked: bool) -> Tensor:
    """Floats in 0..1, on any device -> uint8 on the host.

    Raises ``NotFiniteError`` where ``checked`` and not all are finite: bytes could not tell.
    """
    if checked and not frames.sum(dtype=torch.float64).isfinite():
        raise NotFiniteError("the decoder made numbers that are not finite; compute in float32, or check its weights")
    return truncated(frames).contiguous().cpu()


def joined(features: Sequence[Tensor]) -> Tensor:
    """One feature of N candidates' states, each ``[1, ...]`` -> ``[N, ...]``; what all share is not copied."""
    first = features[0]
    if all(feature is first for feature in features):
        return first.expand(len(features), *first.shape[1:])
    return torch.cat(list(features))


def state_of_each(features: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Features of all candidates, each ``[N, ...]`` -> one state a candidate, in memory of its own, to free losers'."""
    count = len(features[0])
    return [tuple(feature[index : index + 1].clone() for feature in features) for index in range(count)]
