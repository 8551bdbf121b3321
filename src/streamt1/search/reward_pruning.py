"""Stream-Scaled Reward Pruning (paper section 3.3): fuse a short and a long reward, keep the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from streamt1.core.errors import RewardError
from streamt1.core.seeds import generator

SCENE = 6
"""Chunks after which a video without a known end leans on the short reward as far as it may."""


def fusion_weight(chunk: int, chunks: int | None, cap: float) -> float:
    """Weight ``a`` of the short reward: ``min(start / (N - n), c)``, so early chunks lean on the long reward.

    ``start``, ``N`` and ``n`` of the paper count latent frames and share the factor frames-per-chunk, so chunks do.
    A video of a single chunk has ``a = 0``. One without a known end (``chunks`` is None) has ``min(chunk / 6, c)``.
    """
    if chunks is None:
        return min(chunk / SCENE, cap)
    return min(chunk / (chunks - 1), cap) if chunks > 1 else 0.0


def fuse(short: float, long: float, weight: float) -> float:
    """``a * short + (1 - a) * long``."""
    return weight * short + (1 - weight) * long


def prune(scores: Sequence[float], top_k: int) -> list[int]:
    """Indices of the ``top_k`` best scores, best first; the earlier wins a tie.

    A score that is not a finite number always loses, even where that leaves fewer than ``top_k``.

    Raises:
        RewardError: no score is finite.
    """
    finite = [i for i, score in enumerate(scores) if math.isfinite(score)]
    if not finite:
        raise RewardError(
            f"all {len(scores)} candidates got a score that is not a finite number; check the reward models and the"
            " frames they are given"
        )
    return sorted(finite, key=lambda i: -scores[i])[:top_k]


def random_pick(count: int, top_k: int, seed: int) -> list[int]:
    """The ablation of pruning: ``top_k`` of ``count`` candidates, whatever their scores."""
    return torch.randperm(count, generator=generator(seed))[:top_k].tolist()
