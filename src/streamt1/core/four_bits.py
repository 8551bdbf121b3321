"""Keys and values in four bits: groups of numbers share a step and a lowest value (asymmetric quantisation).

A number of a group becomes the nearest of 16 levels between its lowest and its highest. Step and lowest value are
bfloat16, rounded so that the levels span the group: no number is off by more than half a step, but for the rounding of
its own dtype. With groups of 32 a number takes 5 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BITS = 4
LEVELS = 15
"""The highest code."""
GROUP = 32
"""Numbers along the last axis that share a step."""
_WIDE, _NARROW = torch.float32, torch.bfloat16


@dataclass(frozen=True, eq=False)
class FourBits:
    """A tensor ``[..., D]`` in four bits, in groups of ``G`` along its last axis.

    Attributes:
        codes: ``[..., D / 2]`` uint8; the even places are in the low halves.
        steps, lows: ``[..., D / G]`` bfloat16, at least 0, and the value of code 0.
    """

    codes: Tensor
    steps: Tensor
    lows: Tensor

    def values(self, dtype: torch.dtype) -> Tensor:
        """``[..., D]``, in ``dtype``."""
        return torch.stack([decoded_row(*row, dtype) for row in zip(self.codes, self.steps, self.lows)])


@dataclass(frozen=True)
class Lost:
    """What four bits cost, measured.

    Attributes:
        largest: the largest difference of one number.
        relative: root of the mean squared difference, in parts of that of the numbers.
    """

    largest: float
    relative: float


def group_of(size: int, wanted: int = GROUP) -> int:
    """How many numbers share a step where the last axis has ``size``: all of them where ``wanted`` does not divide."""
    return size if size % wanted else wanted


def to_four_bits(values: Tensor, group: int) -> tuple[FourBits, Lost]:
    """A tensor ``[N, ..., D]`` in four bits, row by row: all at once would need several times its memory.

    Args:
        values: finite floats; ``D`` is even.
        group: divides ``D``.
    """
    rows, largest, lost, whole = [], 0.0, 0.0, 0.0
    for row in values:
        rows.append(coded := coded_row(row, group))
        error = decoded_row(*coded, values.dtype).double() - row.double()
        largest = max(largest, error.abs().max().item())
        lost, whole = lost + error.square().sum().item(), whole + row.double().square().sum().item()
    codes, steps, lows = (torch.stack(part) for part in zip(*rows))
    return FourBits(codes, steps, lows), Lost(largest, math.sqrt(lost / whole) if whole else 0.0)


def coded_row(row: Tensor, group: int) -> tuple[Tensor, Tensor, Tensor]:
    grouped = row.to(_WIDE).unflatten(-1, (-1, group))
    low, high = grouped.aminmax(dim=-1, keepdim=True)
    lows = _towards(low, -math.inf)
    steps = _towards((high - lows.to(_WIDE)) / LEVELS, math.inf)
    places = ((grouped - lows.to(_WIDE)) / steps.to(_WIDE)).nan_to_num(0.0, LEVELS)  # a step may be 0
    codes = places.round().clamp(0, LEVELS).to(torch.uint8).flatten(-2)
    return codes[..., 0::2] | codes[..., 1::2] << 4, steps.squeeze(-1), lows.squeeze(-1)


def _towards(values: Tensor, end: float) -> Tensor:
    """Rounded to bfloat16 towards one end, so that it is never beyond on the other side."""
    near = values.to(_NARROW)
    further = torch.nextafter(near, torch.full_like(near, end))
    short = near.to(_WIDE) > values if end < 0 else near.to(_WIDE) < values
    return torch.where(short, further, near)


def decoded_row(codes: Tensor, steps: Tensor, lows: Tensor, dtype: torch.dtype) -> Tensor:
    places = torch.stack([codes & LEVELS, codes >> 4], dim=-1).flatten(-2).to(_WIDE)
    grouped = places.unflatten(-1, (steps.shape[-1], -1))
    most = torch.finfo(dtype).max
    values = grouped * steps.to(_WIDE)[..., None] + lows.to(_WIDE)[..., None]
    return values.flatten(-2).clamp(-most, most).to(dtype)
