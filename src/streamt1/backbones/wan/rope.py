"""Rotary positions on three axes: time, patch row, patch column (SPEC section 2).

A pair of adjacent channels is one complex number; a head of ``hd`` channels has ``hd/2`` pairs, split time first, then
rows, then columns. Angles are computed in float64 for the positions that are asked for: no table, so no last one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from streamt1.backbones.wan.elementwise import lean, rms_norm
from streamt1.core import fused

THETA = 10000.0


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Channel pairs of the (time, row, column) axes."""
    pairs = head_dim // 2
    space = pairs // 3
    return pairs - 2 * space, space, space


def axis_angles(positions: Tensor, pairs: int) -> Tensor:
    """``[..., pairs]`` angles in radians: position times ``THETA ** (-2i / (2 pairs))``, float64."""
    frequency = THETA ** (-torch.arange(pairs, dtype=torch.float64, device=positions.device) / max(pairs, 1))
    return positions.to(torch.float64)[..., None] * frequency


def grid_angles(positions: Tensor, grid: tuple[int, int], head_dim: int) -> Tensor:
    """Angles of all tokens of some latent frames.

    Args:
        positions: time positions ``[..., F]``, in latent frames.
        grid: (patch rows, patch columns) of a frame.

    Returns:
        ``[..., F * rows * columns, head_dim / 2]`` in radians, float64; tokens are row-major over (frame, row, column).
    """
    time_pairs, row_pairs, column_pairs = axis_pairs(head_dim)
    rows, columns = grid
    lead = positions.shape
    time = axis_angles(positions, time_pairs)[..., None, None, :].expand(*lead, rows, columns, time_pairs)
    row = axis_angles(torch.arange(rows, device=positions.device), row_pairs)[:, None, :]
    column = axis_angles(torch.arange(columns, device=positions.device), column_pairs)[None, :, :]
    row = row.expand(*lead, rows, columns, row_pairs)
    column = column.expand(*lead, rows, columns, column_pairs)
    return torch.cat([time, row, column], dim=-1).flatten(-4, -2)


def shift_angles(shifts: Tensor, head_dim: int) -> Tensor:
    """Angles ``[..., L, head_dim / 2]`` that move rotated keys of ``L`` tokens by ``shifts [..., L]`` latent frames."""
    time_pairs, row_pairs, column_pairs = axis_pairs(head_dim)
    time = axis_angles(shifts, time_pairs)
    return torch.cat([time, time.new_zeros(*shifts.shape, row_pairs + column_pairs)], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates each channel pair of ``x [..., L, heads, head_dim]`` by its angle, in float32; returns ``x``'s dtype.

    ``cos`` and ``sin`` are ``[..., L, head_dim / 2]``.
    """
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., None, :], sin[..., None, :]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


class Rotary(NamedTuple):
    """The rotation of some tokens, made once and used in every layer; float32.

    Attributes:
        cos, sin: ``[..., L, head_dim / 2]``.
        turn: ``[..., L, 1, head_dim / 2, 2]``, minus sine and sine: what the other channel of each pair adds.
    """

    cos: Tensor
    sin: Tensor
    turn: Tensor

    @classmethod
    def of(cls, angles: Tensor) -> Rotary:
        """Of ``grid_angles``."""
        cos, sin = angles.cos().float(), angles.sin().float()
        return cls(cos, sin, torch.stack([-sin, sin], dim=-1).unsqueeze(-3))

    def apply(self, x: Tensor) -> Tensor:
        """``rotate``; in the lean form (see ``elementwise``) 18 bytes per element, 36 when plain."""
        if not lean(x):
            return rotate(x, self.cos, self.sin)
        out, pairs = torch.empty_like(x), x.unflatten(-1, (-1, 2))
        own = pairs * self.cos[..., None, :, None]
        torch.addcmul(own, pairs.flip(-1), self.turn, out=out.unflatten(-1, (-1, 2)))
        return out

    def of_normed(self, x: Tensor, weight: Tensor, eps: float, heads: int) -> Tensor:
        """``apply`` to the heads of ``rms_norm(x)``: ``[B, L, heads * head_dim]`` -> ``[B, L, heads, head_dim]``.

        4 bytes per element where both are one kernel (see ``core.fused``).
        """
        if lean(x) and self.cos.ndim == 2 and fused.usable(x, weight, self.cos):
            return fused.turned_norm(x, weight, self.cos, self.sin, eps).unflatten(-1, (heads, -1))
        return self.apply(rms_norm(x, weight, eps).unflatten(-1, (heads, -1)))


def shift_time(keys: Tensor, frames: int) -> Tensor:
    """Moves rotated keys ``[..., head_dim]`` by some latent frames in time: their rotation is linear, so it composes.

    Needed when an evicted chunk is blended into a sink slot that stands at another position (SPEC section 5).
    """
    pairs = axis_pairs(keys.shape[-1])[0]
    angle = axis_angles(torch.full((), frames, device=keys.device), pairs)
    even, odd = keys[..., : 2 * pairs].double().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    moved = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
    return torch.cat([moved.to(keys.dtype), keys[..., 2 * pairs :]], dim=-1)
