"""Ways to keep keys and values in fewer bits: what a layer of a page becomes, and what is read of it.

``Rotated`` is TurboQuant (arXiv 2504.19874) without its 1-bit residual: a vector is rotated at random, so that each
coordinate follows a known law, whatever the vector was; it is rounded to the levels that are best for that law (Lloyd
and Max), and one scale gives it its norm back. The others are what it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamt1.core.four_bits import GROUP, coded_row, decoded_row, group_of

SEED = 2504
"""Of the signs of the rotation: memories that are to be exchanged need the same."""
SCALE = torch.bfloat16
"""What a scale is kept in: 16 bits, with the exponents of float32."""
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
"""Types of so many bytes: the numbers of a byte of codes are looked up as one, five times faster than one by one."""
_EVEN = 49471, 37345
"""In parts of 2^16, the powers 1/p and 1/p^2 of the plastic number p: multiples of both fill the square evenly (R2)."""
_GRID = 2**16
_ROUNDS = 300
"""Iterations of Lloyd; levels move by less than their rounding after them."""
_FINE = 2**-14
"""Levels are rounded to it, so that all machines compute the same."""
Table = NDArray[np.float64]
Layout = list[tuple[tuple[int, ...], torch.dtype]]
"""Shape and type of each part."""


class Codec(Protocol):
    """Keys or values of one layer ``[L, heads, D]`` in parts of fewer bits, each ``[L, ...]`` or ``[1, ...]``."""

    @property
    def name(self) -> str:
        """What tells its parts from another's; codecs of one name read each other's."""
        ...

    @property
    def by_token(self) -> bool:
        """Whether a token's codes depend on it alone, so that those of several pages can be read as one."""
        ...

    def layout(self, tokens: int, heads: int, size: int) -> Layout:
        """Of what ``[tokens, heads, size]`` becomes."""
        ...

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Parts of ``[L, heads, D]``, on its device."""
        ...

    def decode(self, parts: Sequence[Tensor], dtype: torch.dtype, turned: bool = False) -> Tensor:
        """``[L, heads, D]`` of what ``encode`` gave, as near as its bits come; with ``turned`` what was rotated stays
        so, see ``rotation_on``."""
        ...


@dataclass(frozen=True)
class Rotated:
    """``2^width`` levels for each rotated coordinate and one scale per vector.

    Codes are packed into bytes, the lowest bits first. The rotation is made of signs, sums and differences, so it is
    exact in 16 bits too. All heads share it: they are quantised apart, and one product of matrices turns them all.
    The norm of a vector is taken in float32, so its numbers must lie below 1e18.

    Args:
        width: bits of a code: 2, 4 or 8.
    """

    width: int
    by_token = True

    @property
    def name(self) -> str:
        return f"rotated {self.width} bits"

    def layout(self, tokens: int, heads: int, size: int) -> Layout:
        return [((tokens, heads, size * self.width // 8), torch.uint8), ((tokens, heads), SCALE)]

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        size, wide, each = x.shape[-1], (torch.float32, x.device), 8 // self.width
        levels = on_device(lloyd_max, (self.width, size), *wide)
        turned = x.float() @ rotation_on(size, *wide).T
        norm = torch.linalg.vector_norm(turned, dim=-1, keepdim=True)
        unit = turned * (math.sqrt(size) / norm).nan_to_num(0.0, 0.0)
        places = torch.bucketize(unit, (levels[1:] + levels[:-1]) / 2, out_int32=True)
        back = torch.linalg.vector_norm(levels[places], dim=-1, keepdim=True)
        shifts = torch.arange(0, 8, self.width, device=x.device, dtype=torch.int32)
        codes = (places.unflatten(-1, (-1, each)) << shifts).sum(-1, dtype=torch.int32)
        return codes.to(torch.uint8), (norm / back).squeeze(-1).to(SCALE)

    def decode(self, parts: Sequence[Tensor], dtype: torch.dtype, turned: bool = False) -> Tensor:
        codes, scales = parts
        size, place = codes.shape[-1] * 8 // self.width, (dtype, codes.device)
        table = on_device(_in_bytes, (self.width, size), *place)
        whole = table.view(_WHOLE[table.shape[-1] * dtype.itemsize]).squeeze(-1)
        wide = whole.index_select(0, codes.flatten().int()).view(dtype).view(*codes.shape[:-1], size)
        wide *= scales.to(dtype)[..., None]
        return wide if turned else wide @ rotation_on(size, *place)


@dataclass(frozen=True)
class Linear:
    """Even steps from zero, as many either way: ``round(x / step)``.

    Args:
        width: bits of a code: 8 or 16.
        channels: whether a channel of a head shares a step over all tokens of the page, as keys with large channels
            want it; otherwise each vector has its own, and is rotated before, which spreads what is large.
    """

    width: int
    channels: bool

    @property
    def name(self) -> str:
        return f"linear {self.width} bits by {'channel' if self.channels else 'rotated vector'}"

    @property
    def by_token(self) -> bool:
        return not self.channels

    @property
    def _dtype(self) -> torch.dtype:
        return torch.int16 if self.width == 16 else torch.int8

    def layout(self, tokens: int, heads: int, size: int) -> Layout:
        steps = (1, heads, size) if self.channels else (tokens, heads, 1)
        return [((tokens, heads, size), self._dtype), (steps, SCALE)]

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        wide, most = x.float(), 2 ** (self.width - 1) - 1
        wide = wide if self.channels else wide @ rotation_on(x.shape[-1], torch.float32, x.device).T
        step = _step(wide.abs().amax(dim=0 if self.channels else -1, keepdim=True) / most)
        codes = (wide / step.float()).nan_to_num(0.0).round().clamp(-most, most)
        return codes.to(self._dtype), step

    def decode(self, parts: Sequence[Tensor], dtype: torch.dtype, turned: bool = False) -> Tensor:
        codes, step = parts
        wide = codes.float() * step.float()
        if not self.channels and not turned:
            wide = wide @ rotation_on(wide.shape[-1], torch.float32, wide.device)
        return wide.to(dtype)


@dataclass(frozen=True)
class Dithered:
    """Even steps of a rotated vector in 12 bits, rounded up as often as a number is near the upper one.

    So no change is too small to count: of ten that are a tenth of a step, one counts and is a whole one. What decides
    follows from the place in the page and from ``seed`` alone, evenly over tokens and over seeds one after another.

    Args:
        seed: another one for each encoding of what was encoded before; to read, none is needed.
    """

    seed: int = field(default=0, compare=False)
    name = "dithered 12 bits by rotated vector"
    by_token = True
    _most = 2**11 - 1

    def layout(self, tokens: int, heads: int, size: int) -> Layout:
        return [((tokens, heads, size * 3 // 2), torch.uint8), ((tokens, heads, 1), SCALE)]

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        place = (torch.float32, x.device)
        steps = x.float() @ rotation_on(x.shape[-1], *place).T
        step = _step(steps.abs().amax(dim=-1, keepdim=True) / self._most)
        steps = (steps / step.float()).nan_to_num(0.0)
        vectors = torch.arange(step.numel(), device=x.device).view(step.shape)
        drawn = ((vectors * _EVEN[0] + self.seed * _EVEN[1]) % 2**16).float() / 2**16
        chance = (drawn + on_device(_uniform, (x.shape[-1],), *place)).frac()
        codes = (steps + chance).floor().clamp(-self._most, self._most).to(torch.int16) + 2**11
        low, high = codes.unflatten(-1, (-1, 2)).unbind(-1)
        packed = torch.stack([low & 255, low >> 8 | (high & 15) << 4, high >> 4], dim=-1)
        return packed.to(torch.uint8).flatten(-2), step

    def decode(self, parts: Sequence[Tensor], dtype: torch.dtype, turned: bool = False) -> Tensor:
        codes, step = parts
        first, middle, last = codes.unflatten(-1, (-1, 3)).to(torch.int16).unbind(-1)
        steps = torch.stack([first | (middle & 15) << 8, middle >> 4 | last << 4], dim=-1).flatten(-2) - 2**11
        wide = steps.float() * step.float()
        return (wide if turned else wide @ rotation_on(wide.shape[-1], torch.float32, wide.device)).to(dtype)


def _step(step: Tensor) -> Tensor:
    """In the type of scales, and no smaller: the largest number must not lie beyond the last step."""
    near = step.to(SCALE)
    return torch.where(near < step, torch.nextafter(near, torch.full_like(near, math.inf)), near)


@dataclass(frozen=True)
class Grouped:
    """Four bits between the lowest and the highest number of every 32 (``core.four_bits``): plain int4."""

    name = "grouped 4 bits"
    by_token = True

    def layout(self, tokens: int, heads: int, size: int) -> Layout:
        groups = ((tokens, heads, size // group_of(size, GROUP)), SCALE)
        return [((tokens, heads, size // 2), torch.uint8), groups, groups]

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return coded_row(x, group_of(x.shape[-1], GROUP))

    def decode(self, parts: Sequence[Tensor], dtype: torch.dtype, turned: bool = False) -> Tensor:
        codes, steps, lows = parts
        return decoded_row(codes, steps, lows, dtype)


def bits_of(codec: Codec, tokens: int, heads: int, size: int) -> float:
    """That a number of ``[tokens, heads, size]`` takes, its share of the scales included."""
    parts = codec.layout(tokens, heads, size)
    return 8 * sum(math.prod(shape) * dtype.itemsize for shape, dtype in parts) / (tokens * heads * size)


@cache
def rotation(size: int) -> Table:
    """``[size, size]``, orthogonal: two Hadamard transforms, each after random signs.

    Where ``size`` is no power of two, blocks of the largest one that divides it are turned apart.
    """
    block = size & -size
    hadamard = np.ones((1, 1))
    while len(hadamard) < block:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    turn, (first, second) = np.zeros((size, size)), _signs(2 * size).reshape(2, -1, block)
    for i in range(size // block):
        turn[i * block : (i + 1) * block, i * block : (i + 1) * block] = (hadamard * second[i]) @ (hadamard * first[i])
    return turn / block


def _signs(count: int) -> Table:
    return np.where(_uniform(count) < 0.5, -1.0, 1.0)


@cache
def _uniform(count: int) -> Table:
    """In [0, 1), of a linear congruential generator: they are the same wherever and whenever they are drawn."""
    state, drawn = SEED, []
    for _ in range(count):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        drawn.append((state >> 40) / 2**24)
    return np.array(drawn)


@cache
def lloyd_max(width: int, size: int) -> Table:
    """The ``2^width`` levels that cost a coordinate least, ascending.

    The coordinate is that of a random vector of ``size`` numbers whose mean square is 1: its law is
    ``(1 - t^2 / size)^((size - 3) / 2)``, nearly normal. Each level is the mean of what is rounded to it, from the
    middle of it and the one before to the middle of it and the next (Lloyd, 1957; Max, 1960).
    """
    end = min(math.sqrt(size), 12.0)
    t = (np.arange(_GRID) + 0.5) / _GRID * 2 * end - end
    law = np.clip(1 - t**2 / size, 0, None) ** ((size - 3) / 2) if size > 3 else np.ones_like(t)
    mass, moment = (np.concatenate([[0.0], part.cumsum()]) for part in (law, law * t))
    spread = (law ** (1 / 3)).cumsum()  # where levels stand if they are many
    levels = t[np.searchsorted(spread, (np.arange(2**width) + 0.5) / 2**width * spread[-1])]
    for _ in range(_ROUNDS):
        cuts = np.concatenate([[0], np.searchsorted(t, (levels[1:] + levels[:-1]) / 2), [_GRID]])
        weights = np.diff(mass[cuts])
        levels = np.where(weights > 0, np.diff(moment[cuts]) / np.where(weights > 0, weights, 1), levels)
    return ((levels - levels[::-1]) / 2 / _FINE).round() * _FINE  # the law is even


@cache
def _in_bytes(width: int, size: int) -> Table:
    """``[256, 8 / width]``: the levels of the codes in each byte."""
    return lloyd_max(width, size)[(np.arange(256)[:, None] >> np.arange(0, 8, width)) & (2**width - 1)]


@cache
def on_device(make: Callable[..., Table], sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A table as a tensor; it crosses the bus once."""
    return torch.from_numpy(make(*sizes)).to(device, dtype)


def rotation_on(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``R``, ``[size, size]``: a codec that rotates keeps ``x @ R.T``."""
    return on_device(rotation, (size,), dtype, device)


def indices_on(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """Whole numbers ``[N]`` to index with."""
    return on_device(_listed, numbers, torch.long, device)


def _listed(*numbers: int) -> Table:
    return np.array(numbers, dtype=np.float64)
