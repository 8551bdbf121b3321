"""Attention, and attention over a prefix that many candidates share without copying it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Full attention; ``q [B, L, heads, hd]``, ``k, v [B or 1, S, heads, hd]`` -> ``[B, L, heads, hd]``.

    Keys of batch 1 are shared: the batch is then folded into the query length, so nothing is repeated.
    """
    batch = q.shape[0]
    if k.shape[0] == 1 and batch > 1:
        return attention(q.flatten(0, 1)[None], k, v).unflatten(1, (batch, -1))[0]
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def shared_prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    """Every candidate attends to one shared prefix and to its own tokens; the prefix is never repeated.

    Two attentions are computed, all candidates' queries against the prefix and each one's against its own keys, and
    merged by their log-sum-exp, which is exact. ``naive_prefix_attention`` is the slow twin.

    Args:
        q, k, v: the candidates' own, ``[N, L, heads, hd]``.
        prefix_k, prefix_v: ``[1, S, heads, hd]``.

    Returns:
        ``[N, L, heads, hd]``.
    """
    n = q.shape[0]
    if n == 1:
        return attention(q, torch.cat([prefix_k, k], dim=1), torch.cat([prefix_v, v], dim=1))
    far, far_lse = attention_with_lse(q.flatten(0, 1)[None], prefix_k, prefix_v)
    near, near_lse = attention_with_lse(q, k, v)
    far, far_lse = far[0].unflatten(0, (n, -1)), far_lse[0].unflatten(0, (n, -1))
    weight = torch.sigmoid(far_lse - near_lse)[..., None]
    return (weight * far + (1 - weight) * near).to(q.dtype)


def naive_prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    """The slow twin of ``shared_prefix_attention``: repeats the prefix for every candidate."""
    n = q.shape[0]
    k = torch.cat([prefix_k.expand(n, -1, -1, -1), k], dim=1)
    v = torch.cat([prefix_v.expand(n, -1, -1, -1), v], dim=1)
    return attention(q, k, v)


def attention_with_lse(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores: ``[B, L, heads, hd]`` and ``[B, L, heads]`` (float32).

    Uses the fused kernels of torch where they give the log-sum-exp (CPU; CUDA), and plain matrix products elsewhere.
    """
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    elif q.device.type == "cuda":
        out, lse = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[:2]
        lse = lse[..., : q.shape[2]]
    else:
        scores = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5
        lse = scores.logsumexp(-1)
        out = ((scores - lse[..., None]).exp() @ v.float()).to(q.dtype)
    return out.transpose(1, 2), lse.transpose(1, 2)
