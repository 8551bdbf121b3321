"""Frames as bytes and as floats: what they are outside, and how one becomes the other.

Frames ``[..., 3, H, W]`` are floats in 0..1 or uint8 in 0..255. Bytes are a quarter of float32, and they are what the
official code makes of frames before its rewards, or people, see them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


def floats(frames: Tensor) -> Tensor:
    """Bytes -> float32 in 0..1, of which ``truncated`` makes the same bytes again; floats stay what they are."""
    return frames.float().div_(255) if frames.dtype is torch.uint8 else frames


def truncated(frames: Tensor) -> Tensor:
    """0..1 -> uint8, truncating, as the official pipeline does when it writes pictures; bytes stay what they are."""
    return frames if frames.dtype is torch.uint8 else frames.clamp(0, 1).mul_(255).to(torch.uint8)


def shown_to(reward: object, frames: Tensor) -> Tensor:
    """Frames as a reward takes them: floats, unless it says ``takes_bytes``."""
    return frames if getattr(reward, "takes_bytes", False) else floats(frames)


def picked(clips: Sequence[Sequence[Tensor]], index: Sequence[int] | None) -> Tensor:
    """Some frames of ``N`` clips of one length, ``[N, len(index), 3, H, W]``: in memory of their own, copied once.

    Args:
        clips: each in parts ``[T, 3, H, W]`` that follow one another.
        index: which frames of every clip; None is all.
    """
    if index is None:
        return torch.cat([part for parts in clips for part in parts]).unflatten(0, (len(clips), -1))
    begins = list(accumulate((len(part) for part in clips[0][:-1]), initial=0))
    places = [bisect_right(begins, frame) - 1 for frame in index]
    chosen = [parts[place][frame - begins[place]] for parts in clips for place, frame in zip(places, index)]
    return torch.stack(chosen).unflatten(0, (len(clips), -1))
