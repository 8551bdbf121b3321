"""Attention, and attention over a prefix that many candidates share without copying it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from streamt1.backbones.wan.elementwise import lean
from streamt1.backbones.wan.kernels import kernel_for


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Full attention; ``q [B, L, heads, hd]``, ``k, v [B or 1, S, heads, hd]`` -> ``[B, L, heads, hd]``.

    Keys of batch 1 are shared: the batch is then folded into the query length, so nothing is repeated.
    """
    batch = q.shape[0]
    if k.shape[0] == 1 and batch > 1:
        return attention(q.flatten(0, 1)[None], k, v).unflatten(1, (batch, -1))[0]
    if q.device.type == "cuda" and lean(q):
        return attention_with_lse(q, k, v)[0]
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def shared_prefix_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix_k: Tensor,
    prefix_v: Tensor,
    out: Tensor | None = None,
    turn: Tensor | None = None,
) -> Tensor:
    """Every candidate attends to one shared prefix and to its own tokens; the prefix is never repeated.

    Two attentions are computed, all candidates' queries against the prefix and each one's against its own keys, and
    merged by their log-sum-exp, which is exact. ``naive_prefix_attention`` is the slow twin.

    Args:
        q, k, v: the candidates' own, ``[N, L, heads, hd]``.
        prefix_k, prefix_v: ``[1, S, heads, hd]``.
        out: where to write; None for new memory.
        turn: orthogonal, ``[hd, hd]``: the prefix holds keys and values times its transpose. The queries are then
            turned as the keys were, and what they read is turned back: less work than turning a long prefix.

    Returns:
        ``[N, L, heads, hd]``.
    """
    n = q.shape[0]
    if n == 1 and turn is None and not lean(q):
        seen = attention(q, torch.cat([prefix_k, k], dim=1), torch.cat([prefix_v, v], dim=1))
        return seen if out is None else out.copy_(seen)
    asked = q if turn is None else q @ turn.T
    far, far_lse = attention_with_lse(asked.flatten(0, 1)[None], prefix_k, prefix_v)
    far = far if turn is None else far @ turn
    near, near_lse = attention_with_lse(q, k, v)
    far, far_lse = far[0].unflatten(0, (n, -1)), far_lse[0].unflatten(0, (n, -1))
    return _merged(far, near, far_lse - near_lse, out)


def _merged(far: Tensor, near: Tensor, ahead: Tensor, out: Tensor | None) -> Tensor:
    """Weighs two answers; ``ahead [N, L, heads]`` is by how much the log-sum-exp of ``far`` exceeds that of ``near``.

    In 16 bits (see ``elementwise``) the weight is rounded too, and ``near`` is overwritten where ``out`` is None.
    """
    if lean(near):
        weight = torch.sigmoid(ahead, out=torch.empty_like(ahead, dtype=near.dtype))[..., None]
        return torch.lerp(near, far, weight, out=near if out is None else out)
    weight = torch.sigmoid(ahead)[..., None]
    seen = (weight * far + (1 - weight) * near).to(near.dtype)
    return seen if out is None else out.copy_(seen)


def naive_prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    """The slow twin of ``shared_prefix_attention``: repeats the prefix for every candidate."""
    n = q.shape[0]
    k = torch.cat([prefix_k.expand(n, -1, -1, -1), k], dim=1)
    v = torch.cat([prefix_v.expand(n, -1, -1, -1), v], dim=1)
    return attention(q, k, v)


def attention_with_lse(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores: ``[B, L, heads, hd]`` and ``[B, L, heads]`` (float32)."""
    out, lse = kernel_for(q)(*(t.transpose(1, 2) for t in (q, k, v)))
    return out.transpose(1, 2), lse.transpose(1, 2)
