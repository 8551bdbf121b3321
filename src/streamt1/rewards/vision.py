"""Pixels as Qwen2-VL reads them: sizes, sampled frames, patches (SPEC section 8). Needs no torchvision, no files."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from streamt1.core.devices import sent

PATCH, MERGE, IN_TIME = 14, 2, 2
"""Sides of a patch; patches a side that the vision tower merges into one token; frames of a patch."""
FACTOR = PATCH * MERGE
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
MOST_FRAMES, FEWEST_FRAMES = 768, 4
MOST_PATCHES = 8192
"""That go through the vision tower together; a clip of ten chunks at 480x832 has 7056."""
STEEPEST = 200
"""Largest ratio of a picture's sides."""

Grid = tuple[int, int, int]
"""Patches in time, rows, columns."""


def fitted_size(height: int, width: int, low: int, high: int) -> tuple[int, int]:
    """Sides in multiples of 28 whose product lies between two numbers of pixels, near the picture's own ratio.

    Raises ``ValueError`` for a picture more than 200 times as long as wide.
    """
    if max(height, width) > STEEPEST * min(height, width):
        raise ValueError(f"a picture of {height}x{width} is too narrow to be judged (at most {STEEPEST}:1)")
    rows, columns = (max(1, round(side / FACTOR)) * FACTOR for side in (height, width))
    if rows * columns > high:
        shrink = math.sqrt(height * width / high)
        rows, columns = (max(1, math.floor(side / shrink / FACTOR)) * FACTOR for side in (height, width))
    elif rows * columns < low:
        grow = math.sqrt(low / (height * width))
        rows, columns = (math.ceil(side * grow / FACTOR) * FACTOR for side in (height, width))
    return rows, columns


def sampled_frames(total: int, fps: float, rate: float = 2.0) -> list[int]:
    """Indices of the frames that a clip of ``total`` frames at ``fps`` is judged by: an even number, spread evenly."""
    most = max(FEWEST_FRAMES, min(MOST_FRAMES, total) // IN_TIME * IN_TIME)
    wanted = min(max(total / fps * rate, FEWEST_FRAMES), most)
    count = round(wanted / IN_TIME) * IN_TIME
    index = np.arange(count, dtype=np.float64)
    step = np.float64(np.float32(total - 1) / np.float32(count - 1))  # torch.linspace's arithmetic, rounded where it is
    early, late = (step * index).astype(np.float32), (total - 1 - step * (count - 1 - index)).astype(np.float32)
    return np.rint(np.where(index < count // 2, early, late)).astype(int).tolist()


def resized_picture(image: Tensor, pixels: int) -> Tensor:
    """One picture ``[3, H, W]`` uint8 on the host -> ``[1, 3, rows, columns]`` uint8 of about ``pixels``.

    By Pillow (bicubic, on bytes).
    """
    _, height, width = image.shape
    rows, columns = fitted_size(height, width, pixels, pixels)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((columns, rows), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


def resized_clip(frames: Tensor, low: int, high: int) -> Tensor:
    """Sampled frames ``[T, 3, H, W]`` uint8 -> ``[T, 3, rows, columns]`` uint8 of between so many pixels each."""
    size = fitted_size(frames.shape[2], frames.shape[3], low, high)
    resized = F.interpolate(frames.float(), size, mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp_(0, 255).round_().to(torch.uint8)


def grid_of(frames: Tensor) -> Grid:
    """Of resized frames ``[T, 3, H, W]``, T even or 1."""
    return (-(-len(frames) // IN_TIME), frames.shape[2] // PATCH, frames.shape[3] // PATCH)


def patches_of(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Resized frames of some questions ``[B, T, 3, H, W]`` uint8 -> normalised patches ``[P, 1176]``, where they are.

    T is even, or 1: a picture is doubled in time. The four that are merged into one token follow one another.
    """
    t, rows, columns = grid_of(frames[0])
    full, mean, std = sent(torch.tensor([(255.0,) * 3, MEAN, STD]), frames.device).view(3, 3, 1, 1)
    x = ((frames / full - mean) / std).to(dtype)
    x = x.view(len(frames) * t, -1, 3, rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE, PATCH)
    x = x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return x.expand(*x.shape[:6], IN_TIME, *x.shape[7:]).reshape(-1, 3 * IN_TIME * PATCH**2)
