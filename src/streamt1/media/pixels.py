"""Pixels for people: sizes, bytes, and frames laid out side by side."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from streamt1.core.frames import floats

SHOWN_SIDE = 256
"""Videos smaller than this are enlarged, so that they can be watched."""
LABEL_HEIGHT = 28
GAP = 8


def to_bytes(frames: Tensor) -> Tensor:
    """``[T, 3, H, W]`` -> uint8 ``[T, H, W, 3]`` on the CPU: floats in 0..1 are rounded, bytes stay what they are."""
    if frames.dtype is not torch.uint8:
        frames = (frames.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return frames.permute(0, 2, 3, 1).contiguous().cpu()


def enlarge(frames: Tensor, side: int) -> Tensor:
    """Frames ``[T, 3, H, W]``, enlarged by a whole factor until the shorter side has ``side`` pixels; never shrunk.

    Those that are enlarged become floats in 0..1; others stay what they are.
    """
    factor = -(-side // min(frames.shape[-2:]))
    if factor <= 1:
        return frames
    return F.interpolate(floats(frames).float(), scale_factor=factor, mode="bicubic", align_corners=False).clamp(0, 1)


def shown(frames: Tensor) -> Tensor:
    """``[T, 3, H, W]`` as people see them, uint8 ``[T, H, W, 3]`` of ``SHOWN_SIDE`` or more: a frame at a time, since
    a whole video of floats would be large."""
    return torch.cat([to_bytes(enlarge(frame, SHOWN_SIDE)) for frame in frames.split(1)])


def labelled(frames: Tensor, label: str) -> Tensor:
    """uint8 frames ``[T, H, W, 3]`` with a line of text above them, ``[T, H + 28, W, 3]``."""
    width = frames.shape[2]
    bar = Image.new("RGB", (width, LABEL_HEIGHT), "white")
    ImageDraw.Draw(bar).text((6, 5), label, fill="black", font=ImageFont.load_default(size=15))
    pixels = torch.frombuffer(bytearray(bar.tobytes()), dtype=torch.uint8).view(1, LABEL_HEIGHT, width, 3)
    return torch.cat([pixels.expand(len(frames), -1, -1, -1), frames], dim=1)


def beside(left: Tensor, right: Tensor) -> Tensor:
    """Two uint8 videos ``[T, H, W, 3]`` of one height side by side; the shorter one holds its last frame."""
    length = max(len(left), len(right))
    left, right = (torch.cat([v, v[-1:].expand(length - len(v), -1, -1, -1)]) for v in (left, right))
    gap = torch.full((length, left.shape[1], GAP, 3), 255, dtype=torch.uint8)
    return torch.cat([left, gap, right], dim=2)


def contact_sheet(videos: list[tuple[str, Tensor]], columns: int = 8) -> Image.Image:
    """One row of evenly spaced frames for each labelled video ``[T, 3, H, W]``, 128 pixels high or more."""
    rows = []
    for label, frames in videos:
        index = torch.linspace(0, len(frames) - 1, columns).round().long()
        row = F.pad(to_bytes(enlarge(frames[index], 128)), (0, 0, 0, 4, 0, 4), value=255)
        rows.append(labelled(torch.cat(list(row), dim=1)[None], label)[0])
    return Image.fromarray(torch.cat(rows).numpy())
