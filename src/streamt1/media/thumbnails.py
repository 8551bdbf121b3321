"""Small pictures of candidates and videos."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from torch import Tensor

from streamt1.media.pixels import to_bytes


def thumbnail(frame: Tensor, side: int = 96) -> bytes:
    """One frame ``[3, H, W]`` as a small WebP picture; its longer side has at most ``side`` pixels."""
    return small(Image.fromarray(to_bytes(frame[None])[0].numpy()), side)


def small(picture: Image.Image, side: int) -> bytes:
    """A picture as a small WebP picture; it is changed."""
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=70)
    return buffer.getvalue()


def middle_thumbnail(frames: Tensor, side: int = 96) -> bytes:
    """The frame in the middle of ``[T, 3, H, W]`` as a small WebP picture; see ``thumbnail``."""
    return thumbnail(frames[len(frames) // 2], side)


def size_of_picture(path: Path) -> str:
    """``WIDTHxHEIGHT`` of a file, by its beginning. Raises ``OSError``."""
    with Image.open(path, formats=("WEBP", "PNG")) as picture:
        return "{}x{}".format(*picture.size)
