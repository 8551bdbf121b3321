"""Pixels as Qwen2-VL reads them: sizes, sampled frames, patches (SPEC section 8). Needs no torchvision, no files."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

PATCH, MERGE, IN_TIME = 14, 2, 2
"""Sides of a patch; patches a side that the vision tower merges into one token; frames of a patch."""
FACTOR = PATCH * MERGE
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
MOST_FRAMES, FEWEST_FRAMES = 768, 4
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
    return torch.linspace(0, total - 1, count).round().long().tolist()


def image_patches(image: Tensor, pixels: int) -> tuple[Tensor, Grid]:
    """One picture ``[3, H, W]`` uint8 -> patches ``[rows*columns, 1176]`` float32 and their grid.

    Resized by Pillow (bicubic, on bytes) to about ``pixels``; the picture is doubled in time.
    """
    _, height, width = image.shape
    rows, columns = fitted_size(height, width, pixels, pixels)
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).resize((columns, rows), Image.Resampling.BICUBIC)
    resized = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
    return _patches(resized[None].expand(IN_TIME, -1, -1, -1))


def video_patches(frames: Tensor, low: int, high: int) -> tuple[Tensor, Grid]:
    """Sampled frames ``[T, 3, H, W]`` uint8, T even -> patches ``[T/2*rows*columns, 1176]`` float32 and their grid."""
    size = fitted_size(frames.shape[2], frames.shape[3], low, high)
    resized = F.interpolate(frames.float(), size, mode="bicubic", antialias=True, align_corners=False)
    return _patches(resized.clamp(0, 255).round())


def _patches(frames: Tensor) -> tuple[Tensor, Grid]:
    """``[T, 3, H, W]`` in 0..255 -> rows of patches; the four that are merged into one token follow one another."""
    mean, std = (torch.tensor(values, device=frames.device).view(3, 1, 1) for values in (MEAN, STD))
    x = (frames / 255 - mean) / std
    grid = (x.shape[0] // IN_TIME, x.shape[2] // PATCH, x.shape[3] // PATCH)
    x = x.view(grid[0], IN_TIME, 3, grid[1] // MERGE, MERGE, PATCH, grid[2] // MERGE, MERGE, PATCH)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, 3 * IN_TIME * PATCH**2), grid
