"""Metrics of a clip that need no download.

All take uint8 frames ``[T, H, W, 3]`` and give a number; higher is better but for ``dynamic_degree`` (how much moves)
and the two drifts (how much is lost). ``temporal_flickering`` is VBench's own formula (arXiv 2311.17982). Those marked
*proxy* stand in for a VBench dimension of the same name, whose networks (DINO, CLIP, AMT, RAFT, MUSIQ) they replace by
plain arithmetic: they rank clips of one model, and are not comparable with published VBench numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from streamt1.evaluation.features import (
    cosine,
    foreground,
    gradient,
    histogram,
    luma,
    mean,
    pairs,
    palette,
    thumbnails,
    top,
    unit,
)

Feature = TypeVar("Feature")

WINDOW = 5
"""The first and the last window are a fifth of a clip each."""


def ends(frames: int) -> tuple[slice, slice]:
    """The first and the last window of a clip of so many frames."""
    size = max(1, frames // WINDOW)
    return slice(0, size), slice(frames - size, frames)


def temporal_flickering(frames: Tensor) -> float:
    """VBench's formula: ``(255 - mean absolute difference of consecutive frames) / 255``, 0..1; 1 for a still.

    VBench applies it to static prompts only; on moving ones it also punishes motion.
    """
    changes = [(b - a).abs().mean() for a, b in pairs(frames)]
    return 1 - mean(changes)


def motion_smoothness(frames: Tensor) -> float:
    """Proxy, 0..1: one less the mean distance of each frame to the average of its neighbours.

    VBench drops every other frame and lets AMT fill it in; here the fill is linear.
    """
    errors = [(b - (a + c) / 2).abs().mean() for (a, b), (_, c) in pairwise(pairs(frames))]
    return 1 - mean(errors)


def dynamic_degree(frames: Tensor) -> float:
    """Proxy, 0..1: brightness change from frame to frame in the 5% of pixels that change most, mean over the clip.

    VBench asks whether the 5% largest flow vectors of RAFT exceed a threshold. It counts motion, not its quality.
    """
    changes = [top((luma(b) - luma(a)).abs()) for a, b in pairs(frames)]
    return mean(changes)


def imaging_quality(frames: Tensor) -> float:
    """Proxy, 0..1: size of the brightness gradient in the sharpest 5% of pixels, mean over the clip.

    VBench asks MUSIQ. This one sees blur alone, and takes noise for sharpness.
    """
    return mean([top(gradient(luma(unit(frame)))) for frame in frames])


def subject_consistency(frames: Tensor) -> float:
    """Proxy, 0..1: cosine of each frame's colour histogram to the first frame's and to the one before, averaged.

    VBench's formula over DINO features. Here pixels count by their distance from the clip's median picture, so that
    what moves is the subject; of a still clip the whole frame is.
    """
    small = thumbnails(frames)
    weight = foreground(small) + 1e-3
    return _consistency([histogram(frame, one) for frame, one in zip(small, weight)], cosine)


def background_consistency(frames: Tensor) -> float:
    """Proxy, 0..1: one less the colour distance of each frame to the first and to the one before, averaged, where
    neither shows what moves.

    VBench's formula over CLIP features of whole frames.
    """
    small = thumbnails(frames)
    still = (1 - foreground(small)).clamp(min=1e-3)

    def alike(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
        weight = torch.minimum(a[1], b[1])
        return 1 - ((a[0] - b[0]).abs().mean(0) * weight).sum() / weight.sum()

    return _consistency(list(zip(small, still)), alike)


def drift(frames: Tensor) -> float:
    """Ours, 0..1: share of the colour histogram that differs between the first and the last window; 0 is none."""
    small = thumbnails(frames)
    first, last = (palette(small[part]) for part in ends(len(small)))
    return float((first - last).abs().sum() / 2)


def sharpness_drift(frames: Tensor) -> float:
    """Ours, -1..1: imaging quality of the first window less that of the last; above 0 the clip has become blurred."""
    first, last = ends(len(frames))
    return imaging_quality(frames[first]) - imaging_quality(frames[last])


METRICS: dict[str, Callable[[Tensor], float]] = {
    "temporal_flickering": temporal_flickering,
    "subject_consistency": subject_consistency,
    "background_consistency": background_consistency,
    "motion_smoothness": motion_smoothness,
    "dynamic_degree": dynamic_degree,
    "imaging_quality": imaging_quality,
    "drift": drift,
    "sharpness_drift": sharpness_drift,
}


def measure_clip(frames: Tensor) -> dict[str, float]:
    """All metrics of uint8 frames ``[T, H, W, 3]``."""
    return {name: metric(frames) for name, metric in METRICS.items()}


def _consistency(features: Sequence[Feature], alike: Callable[[Feature, Feature], Tensor]) -> float:
    """VBench's formula: mean over frames from the second on of the likeness to the first and to the one before."""
    if len(features) == 1:
        return 1.0
    return mean([(alike(features[0], b) + alike(a, b)) / 2 for a, b in pairwise(features)])
