"""What the metrics see in frames: brightness, edges, colours, and what moves."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

THUMBNAIL = 64
"""Frames are averaged down to at most so many pixels a side where colours are compared."""
LEVELS = 4
"""Of each colour channel in a histogram."""
TOP = 0.05
"""Share of pixels that count as the most changed, or the sharpest, as in VBench's dynamic degree."""


def unit(frame: Tensor) -> Tensor:
    """uint8 -> 0..1."""
    return frame.float() / 255


def pairs(frames: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Consecutive frames ``[H, W, 3]`` in 0..1, one pair at a time."""
    levels = (unit(frame) for frame in frames)
    before = next(levels)
    for frame in levels:
        yield before, frame
        before = frame


def mean(values: list[Tensor]) -> float:
    """0 for none, as in a clip of one frame."""
    return float(torch.stack(values).mean()) if values else 0.0


def luma(frame: Tensor) -> Tensor:
    """Rec. 601 brightness, ``[..., H, W]``."""
    return frame @ torch.tensor([0.299, 0.587, 0.114])


def gradient(bright: Tensor) -> Tensor:
    """Size of the difference to the right and lower neighbours, ``[H-1, W-1]``, at most 1."""
    right, down = bright[:-1, 1:] - bright[:-1, :-1], bright[1:, :-1] - bright[:-1, :-1]
    return torch.maximum(right.abs(), down.abs())


def top(values: Tensor) -> Tensor:
    """Mean of the largest 5%."""
    flat = values.flatten()
    return flat.topk(max(1, int(TOP * len(flat)))).values.mean()


def thumbnails(frames: Tensor) -> Tensor:
    """``[T, 3, h, w]`` in 0..1, at most 64 pixels a side."""
    size = (min(THUMBNAIL, frames.shape[1]), min(THUMBNAIL, frames.shape[2]))
    return torch.stack([F.adaptive_avg_pool2d(unit(frame).permute(2, 0, 1), size) for frame in frames])


def foreground(small: Tensor) -> Tensor:
    """How far each pixel stands from the clip's median picture, ``[T, h, w]`` in 0..1; 1 from a tenth on."""
    return ((small - small.median(0).values).abs().mean(1) / 0.1).clamp(max=1)


def histogram(frame: Tensor, weight: Tensor) -> Tensor:
    """Colours of ``[3, h, w]``, each pixel counting as much as its weight ``[h, w]``: ``[LEVELS ** 3]``."""
    level = (frame * LEVELS).long().clamp(max=LEVELS - 1)
    index = (level[0] * LEVELS + level[1]) * LEVELS + level[2]
    return torch.zeros(LEVELS**3).index_add_(0, index.flatten(), weight.flatten())


def palette(small: Tensor) -> Tensor:
    """Share of each colour in frames ``[T, 3, h, w]``: ``[LEVELS ** 3]``."""
    counts = torch.stack([histogram(frame, torch.ones_like(frame[0])) for frame in small]).sum(0)
    return counts / counts.sum()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=0)
