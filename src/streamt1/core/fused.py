"""Kernels in Triton for what torch does in several passes over memory: norms and what directly follows them.

Each reads and writes a 16-bit tensor once, and computes in float32. Triton comes with torch's builds for CUDA; where
it is missing, or the tensor is elsewhere, callers take torch's own kernels. Rows are the last dimension, contiguous.
"""
# pyright: reportInvalidTypeForm=false
# ``tl.constexpr`` is what Triton calls a type

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import torch
from torch import Tensor

if TYPE_CHECKING:
    tl: Any = None
    triton: Any = None
else:
    try:
        import triton
        import triton.language as tl
    except ImportError:
        triton = None

MOST = 8192
"""Channels of a row that one program holds."""


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels here can take tensors: there is Triton, and all are on CUDA and hold numbers."""
    return triton is not None and all(
        tensor.device.type == "cuda" and type(tensor) in (Tensor, torch.nn.Parameter) and tensor.shape[-1] <= MOST
        for tensor in tensors
    )


P = ParamSpec("P")


def _on_its_device(run: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    """Triton starts kernels on the current device, which need not be the one that the first tensor is on."""

    @wraps(run)
    def wrapper(x: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.cuda.device_of(x):
            return run(x, *args, **kwargs)

    return wrapper


@_on_its_device
def modulated_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, shift: Tensor, scale: Tensor, eps: float
) -> Tensor:
    """``layer_norm(x) * (1 + scale) + shift``; ``x [..., L, D]``, shift and scale ``[..., 1, D]`` in float32."""
    x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    shift, scale = _groups(shift), _groups(scale)
    width = x.shape[-1]
    affine = weight is not None
    _modulated_norm[(x.numel() // width,)](
        x, out, weight if affine else x, bias if affine else x, shift, scale, shift.stride(0), scale.stride(0),
        x.shape[-2], eps, width, affine=affine, block=triton.next_power_of_2(width), num_warps=_warps(width),
    )  # fmt: skip
    return out


@_on_its_device
def gated_sum(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    """``x + y * gate``; ``x, y [..., L, D]``, gate ``[..., 1, D]`` in float32."""
    x, y, gate = x.contiguous(), y.contiguous(), _groups(gate)
    out, width = torch.empty_like(x), x.shape[-1]
    _gated_sum[(x.numel() // width,)](
        x, y, out, gate, gate.stride(0), x.shape[-2], width, block=triton.next_power_of_2(width),
        num_warps=_warps(width),
    )  # fmt: skip
    return out


@_on_its_device
def turned_norm(x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """``rms_norm(x) * weight``, whose channel pairs are then turned by their angles.

    ``x [B, L, heads * hd]``; ``cos, sin [L, hd / 2]`` in float32, the same for every head and row of the batch.
    """
    x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    width = x.shape[-1]
    _turned_norm[(x.numel() // width,)](
        x, out, weight, cos.contiguous(), sin.contiguous(), x.shape[-2], eps, width, cos.shape[-1],
        block=triton.next_power_of_2(width // 2), num_warps=_warps(width),
    )  # fmt: skip
    return out


@_on_its_device
def silu_norm(x: Tensor, gamma: Tensor, eps: float, silu: bool) -> Tensor:
    """``rms_norm(x) * gamma``, and its SiLU if asked; ``x [rows, D]``, of few channels and many rows."""
    x, (rows, width) = x.contiguous(), x.shape
    out, block = torch.empty_like(x), triton.next_power_of_2(width)
    at_once = max(1, 4096 // block)
    _silu_norm[(triton.cdiv(rows, at_once),)](
        x, out, gamma, rows, eps, width, silu=silu, at_once=at_once, block=block, num_warps=8
    )
    return out


def _groups(table: Tensor) -> Tensor:
    """``[..., 1, D]`` -> ``[groups, D]``, without a copy where they stand evenly."""
    return table.flatten(0, -2)


def _warps(width: int) -> int:
    return 4 if width <= 2048 else 8


if triton is not None:

    @triton.jit
    def _modulated_norm(
        x, out, weight, bias, shift, scale, shift_step, scale_step, length, eps, width,
        affine: tl.constexpr, block: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, block)
        inside = at < width
        value = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value - tl.sum(value) / width, 0.0)
        value = value * tl.rsqrt(tl.sum(value * value) / width + eps)
        if affine:
            value = value * tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
            value += tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
        group = row // length
        value = value * (1 + tl.load(scale + group * scale_step + at, mask=inside, other=0.0))
        value += tl.load(shift + group * shift_step + at, mask=inside, other=0.0)
        tl.store(out + row * width + at, value.to(out.dtype.element_ty), mask=inside)

    @triton.jit
    def _gated_sum(x, y, out, gate, gate_step, length, width, block: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, block)
        inside = at < width
        place = row * width + at
        add = tl.load(y + place, mask=inside, other=0.0).to(tl.float32)
        add *= tl.load(gate + row // length * gate_step + at, mask=inside, other=0.0)
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) + add
        tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)

    @triton.jit
    def _turned_norm(x, out, weight, cos, sin, length, eps, width, pairs, block: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, block)
        inside = at < width // 2
        even = tl.load(x + row * width + 2 * at, mask=inside, other=0.0).to(tl.float32)
        odd = tl.load(x + row * width + 2 * at + 1, mask=inside, other=0.0).to(tl.float32)
        size = tl.rsqrt((tl.sum(even * even) + tl.sum(odd * odd)) / width + eps)
        even = even * size * tl.load(weight + 2 * at, mask=inside, other=0.0).to(tl.float32)
        odd = odd * size * tl.load(weight + 2 * at + 1, mask=inside, other=0.0).to(tl.float32)
        angle = row % length * pairs + at % pairs
        c = tl.load(cos + angle, mask=inside, other=0.0)
        s = tl.load(sin + angle, mask=inside, other=0.0)
        kind = out.dtype.element_ty
        tl.store(out + row * width + 2 * at, (even * c - odd * s).to(kind), mask=inside)
        tl.store(out + row * width + 2 * at + 1, (even * s + odd * c).to(kind), mask=inside)

    @triton.jit
    def _silu_norm(x, out, gamma, rows, eps, width, silu: tl.constexpr, at_once: tl.constexpr, block: tl.constexpr):
        row = tl.program_id(0).to(tl.int64) * at_once + tl.arange(0, at_once)
        at = tl.arange(0, block)
        inside = (row < rows)[:, None] & (at < width)[None, :]
        place = row[:, None] * width + at[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        size = tl.rsqrt(tl.sum(value * value, axis=1) / width + eps)
        value = value * size[:, None] * tl.load(gamma + at, mask=at < width, other=0.0).to(tl.float32)[None, :]
        if silu:
            value = value * tl.sigmoid(value)
        tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)
