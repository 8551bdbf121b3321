"""The attention kernels of torch that give the log-sum-exp, and which of them a CUDA device runs fastest in 16 bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``q [B, heads, L, hd]``, ``k, v [B, heads, S, hd]`` -> ``[B, heads, L, hd]`` and log-sum-exp ``[B, heads, L]``."""

AHEAD = 1.15
"""How much faster than flash another kernel must be: near a tie a run and its resumption would choose differently."""
ROUNDS, CALLS = 3, 4
HEADS, QUERIES, KEYS = 12, 4096, 8192
"""What is timed: about a chunk of Wan 1.3B at 480x832 over six latent frames."""
CLOSE = 0.02
"""How far a kernel's answer to a small question may lie from the one by plain products."""


def flash(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """For 16 bits and heads of a multiple of 8 channels, at most 256."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[:2]
    return out, lse[..., : q.shape[2]]


def cudnn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """For 16 bits on Ampere and later, the fastest from Hopper on."""
    out, lse = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True)[:2]
    return out, lse.reshape(q.shape[:3])


def efficient(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """For float32 too; its log-sum-exp is padded."""
    out, lse = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[:2]
    return out, lse[..., : q.shape[2]]


def on_cpu(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Torch's flash attention for the CPU."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)


def by_products(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Plain matrix products in float32, on any device."""
    scores = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5
    lse = scores.logsumexp(-1)
    return ((scores - lse[..., None]).exp() @ v.float()).to(q.dtype), lse


def kernel_for(q: Tensor) -> Kernel:
    """The kernel for queries like ``q``; on CUDA in 16 bits the fastest, measured at the first such question."""
    if q.device.type == "cpu":
        return on_cpu
    if q.device.type != "cuda":
        return by_products
    if q.dtype not in (torch.bfloat16, torch.float16):
        return efficient
    if type(q) is not Tensor:  # a stand-in without numbers, which nothing can be timed on
        return flash if q.shape[-1] % 8 == 0 and q.shape[-1] <= 256 else efficient
    return fastest(q.device, q.dtype, q.shape[-1])


@cache
def fastest(
    device: torch.device, dtype: torch.dtype, head_dim: int, kernels: tuple[Kernel, ...] = (flash, cudnn, efficient)
) -> Kernel:
    """Of the kernels that answer right, the fastest; the first unless another is ``AHEAD``, as ties must not be drawn.

    One that refuses the device, the dtype or the size of the heads is left out; without any, plain products are taken.
    """
    usable = [kernel for kernel in kernels if _is_right(kernel, device, dtype, head_dim)]
    if len(usable) < 2:
        return usable[0] if usable else by_products
    seconds = {kernel: _seconds(kernel, device, dtype, head_dim) for kernel in usable}
    best = min(usable, key=seconds.__getitem__)
    return best if seconds[usable[0]] > AHEAD * seconds[best] else usable[0]


def _is_right(kernel: Kernel, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    q, k, v = _question(device, dtype, head_dim, heads=2, queries=72, keys=136)
    try:
        answers = kernel(q, k, v)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return False
    return all(
        (ours.float() - plain.float()).abs().max().item() < CLOSE for ours, plain in zip(answers, by_products(q, k, v))
    )


def _seconds(kernel: Kernel, device: torch.device, dtype: torch.dtype, head_dim: int) -> float:
    """Of some calls, the least of a few rounds; the first calls are not counted."""
    question = _question(device, dtype, head_dim, HEADS, QUERIES, KEYS)
    rounds = []
    for _ in range(1 + ROUNDS):
        _wait(device)
        begin = time.perf_counter()
        for _ in range(CALLS):
            kernel(*question)
        _wait(device)
        rounds.append(time.perf_counter() - begin)
    return min(rounds[1:])


def _question(
    device: torch.device, dtype: torch.dtype, head_dim: int, heads: int, queries: int, keys: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as a model lays them out: heads within tokens. No generator of torch is touched."""
    q, k, v = (
        torch.linspace(-3, 3, length * heads * head_dim, device=device).mul_(turns).sin_().to(dtype)
        for length, turns in ((queries, 997.0), (keys, 613.0), (keys, 389.0))
    )
    q, k, v = (t.view(1, -1, heads, head_dim).transpose(1, 2) for t in (q, k, v))
    return q, k, v


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
