"""Triton's kernels against torch's, on CUDA or, with TRITON_INTERPRET=1, on the CPU."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton")

from streamt1.core import fused

WHERE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.skipif(
    WHERE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1", reason="no CUDA device, and TRITON_INTERPRET is not 1"
)
TOLERANCE = {"rtol": 1e-2, "atol": 1e-2}
"""About a rounding to bfloat16."""


def drawn(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(shape, device=WHERE).to(dtype)


def tables(batch: int, frames: int, count: int, width: int) -> tuple[Tensor, ...]:
    """As a block has them: ``[B, F, 1, D]``, strided."""
    told = drawn(batch, frames, count, width, dtype=torch.float32)
    return told.unsqueeze(3).unbind(2)


@pytest.mark.parametrize("width", [96, 1536])
@pytest.mark.parametrize("affine", [False, True])
def test_modulated_norm(width: int, affine: bool) -> None:
    x, (shift, scale, _) = drawn(2, 3, 5, width), tables(2, 3, 3, width)
    weight, bias = (drawn(width), drawn(width)) if affine else (None, None)
    wide = [None if t is None else t.float() for t in (weight, bias)]
    plain = F.layer_norm(x.float(), (width,), *wide, 1e-6) * (1 + scale) + shift
    torch.testing.assert_close(fused.modulated_norm(x, weight, bias, shift, scale, 1e-6).float(), plain, **TOLERANCE)


@pytest.mark.parametrize("batch", [1, 2])
def test_gated_sum(batch: int) -> None:
    x, y, (_, gate) = drawn(batch, 3, 7, 48), drawn(batch, 3, 7, 48), tables(batch, 3, 2, 48)
    plain = x.float() + y.float() * gate
    torch.testing.assert_close(fused.gated_sum(x, y, gate).float(), plain, **TOLERANCE)


def test_turned_norm() -> None:
    from streamt1.backbones.wan.rope import Rotary, rotate

    x, weight = drawn(2, 6, 4 * 24), drawn(4 * 24)
    turn = Rotary.of(torch.rand(6, 12, device=WHERE, dtype=torch.float64) * 6)
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * weight.float()
    plain = rotate(normed.unflatten(-1, (4, 24)), turn.cos, turn.sin).flatten(-2)
    torch.testing.assert_close(fused.turned_norm(x, weight, turn.cos, turn.sin, 1e-6).float(), plain, **TOLERANCE)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 16), (700, 96), (33, 384)])
def test_silu_norm(rows: int, width: int, silu: bool) -> None:
    x, gamma = drawn(rows, width), drawn(width)
    strided = x.t().contiguous().t()
    assert torch.equal(fused.silu_norm(strided, gamma, 1e-24, silu), fused.silu_norm(x, gamma, 1e-24, silu))
    plain = F.normalize(x.float(), dim=-1) * width**0.5 * gamma.float()
    plain = F.silu(plain) if silu else plain
    torch.testing.assert_close(fused.silu_norm(x, gamma, 1e-24, silu).float(), plain, **TOLERANCE)
