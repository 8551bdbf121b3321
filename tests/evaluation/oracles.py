"""Rewards that say what the oracle says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from streamt1.evaluation.agreement import HEADS
from streamt1.pocket.oracle import measure
from streamt1.pocket.scenes import parse
from streamt1.training.preferences import oracle_labels


def frame_score(frames: Tensor, prompt: str) -> Any:
    """The mean of all readings of clips [1, T, 3, 64, 64]."""
    return SimpleNamespace(score=torch.tensor([measure(frames[0].numpy(), parse(prompt)).mean]))


def clip_score(frames: Tensor, fps: float, prompt: str) -> Any:
    """The same, and what each head was trained to say."""
    reading = measure(frames[0].numpy(), parse(prompt))
    parts = {name: torch.tensor([label]) for name, label in zip(HEADS[1:], oracle_labels(reading))}
    return SimpleNamespace(score=torch.tensor([reading.mean]), components=parts)


def oracles() -> Any:
    """Models, as far as judging needs them."""
    return SimpleNamespace(
        frame_reward=SimpleNamespace(score=frame_score), clip_reward=SimpleNamespace(score=clip_score)
    )
