"""The arithmetic between a block's matrix products: computed in float32, whatever the model's dtype.

Each function has two forms. The plain one widens, computes and casts back; what is trained, compiled, or in float32
takes it. The lean one is for eager passes in 16 bits without gradients: a kernel of torch that is told where to write
reads 16 bits, computes in float32 and writes 16 bits, so nothing wide is stored. It rounds no more often than the plain
one. Where Triton is, some are one pass with what follows them (``core.fused``). Bytes are those read and written per
element of ``x`` in 16 bits.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamt1.core import fused


def lean(x: Tensor) -> bool:
    """Whether ``x`` takes the lean form."""
    return x.dtype in (torch.bfloat16, torch.float16) and not (
        torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type) or torch.compiler.is_compiling()
    )


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x * (1 + scale) + shift``; shift and scale in float32, broadcast. 4 bytes; 24 when plain."""
    if lean(x):
        return torch.addcmul(shift, x, 1 + scale, out=torch.empty_like(x))
    return (x.float() * (1 + scale) + shift).to(x.dtype)


def modulated_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, shift: Tensor, scale: Tensor
) -> Tensor:
    """``modulate`` of ``layer_norm``; ``x [B, F, L, D]``, shift and scale ``[B, F, 1, D]``. 4 bytes when fused."""
    if lean(x) and _by_frame(x, shift, scale) and fused.usable(x, shift, scale):
        return fused.modulated_norm(x, weight, bias, shift, scale, eps)
    return modulate(layer_norm(x, weight, bias, eps), shift, scale)


def _by_frame(x: Tensor, *tables: Tensor) -> bool:
    """Whether each has a row for every frame of ``x [..., L, D]``."""
    return all(table.shape == (*x.shape[:-2], 1, x.shape[-1]) for table in tables)


def add_gated(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    """``x + y * gate``, ``[B, F, L, D]``; the gate in float32, ``[B, F, 1, D]``. 6 bytes; 26 when plain."""
    if lean(x):
        if _by_frame(x, gate) and fused.usable(x, y, gate):
            return fused.gated_sum(x, y, gate)
        return torch.addcmul(x, y, gate, out=torch.empty_like(x))
    return x + (y.float() * gate).to(y.dtype)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Over the last dimension. 4 bytes; 20 when plain."""
    if lean(x):
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    weight, bias = (t if t is None else t.float() for t in (weight, bias))
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias, eps).to(x.dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Over the last dimension; the weight is applied after the cast back.

    4 bytes where torch has a fused kernel, which saves a rounding; else 10; 38 when plain.
    """
    if not lean(x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype) * weight
    if _has_fused_rms_norm(x.device.type):
        return F.rms_norm(x, x.shape[-1:], weight, eps)
    mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_().div_(x.shape[-1])
    return torch.mul(x, mean_square.add_(eps).rsqrt_(), out=torch.empty_like(x)).mul_(weight)


@cache
def _has_fused_rms_norm(device_type: str) -> bool:
    """Torch 2.9 and later, on CUDA; elsewhere ``F.rms_norm`` takes six kernels that store float32."""
    if not hasattr(torch.ops.aten, "_fused_rms_norm"):
        return False
    return torch._C._dispatch_has_kernel_for_dispatch_key("aten::_fused_rms_norm", device_type.upper())


def linear_gelu(x: Tensor, linear: nn.Linear) -> Tensor:
    """A projection and GELU in its tanh form: on CUDA the epilogue of the product, which saves a pass over its result.

    Only there ``_addmm_activation`` means the tanh form.
    """
    if lean(x) and x.device.type == "cuda":
        rows = torch.ops.aten._addmm_activation(linear.bias, x.flatten(0, -2), linear.weight.t(), use_gelu=True)
        return rows.unflatten(0, x.shape[:-1])
    return F.gelu(linear(x), approximate="tanh")
