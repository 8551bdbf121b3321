"""Pictures and clips of a user's, as frames of the size and rate that a model makes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.error import FFmpegError
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.types import Fit
from streamt1.media.colours import Pixels, to_pixels

MOST_PIXELS = 100_000_000
"""Of a picture: twelve times as many as a screen of the largest kind has."""


def read_picture(file: Path | BinaryIO, name: str | None = None) -> Tensor:
    """uint8 ``[1, H, W, 3]``, turned as the camera says; what is transparent is on black.

    Args:
        name: of the file, for messages; its path by default.

    Raises:
        ConfigError: it is no picture, or a very large one.
    """
    name = name or str(file)
    try:
        with Image.open(file) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ConfigError(f"{name} has {opened.width}x{opened.height} pixels; make it smaller first")
            turned = ImageOps.exif_transpose(opened).convert("RGBA")
    except Image.DecompressionBombError as error:
        raise ConfigError(f"{name} has more than {MOST_PIXELS} pixels; make it smaller first") from error
    except (OSError, SyntaxError, ValueError) as error:
        what = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise ConfigError(f"{name} is not a picture that can be read: {what}") from error
    black = Image.new("RGBA", turned.size, (0, 0, 0, 255))
    return torch.from_numpy(np.asarray(Image.alpha_composite(black, turned).convert("RGB")).copy())[None]


def read_tail(path: Path, fps: float, most: int) -> Tensor:
    """The last frames of a clip at a rate, uint8 ``[T, H, W, 3]``: ``most`` of them, or as many as there are.

    Each is the one that is shown at its time. Raises ``ConfigError`` for a file that is no video.
    """
    kept: deque[tuple[float, Pixels]] = deque()
    with _reading(path), av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 0)
        for index, frame in enumerate(container.decode(stream)):
            time = frame.time if frame.time is not None else index / (rate or fps)
            kept.append((time, to_pixels(frame)))
            while len(kept) > 2 and kept[1][0] < time - (most + 1) / fps:
                kept.popleft()
        if not kept:
            raise StopIteration
    shapes = {pixels.shape for _, pixels in kept}
    if len(shapes) > 1:
        raise ConfigError(f"{path} changes its size on the way; convert it to one size first")
    times = [time for time, _ in kept]
    wanted = [times[-1] - back / fps for back in range(most) if times[-1] - back / fps > times[0] - 0.5 / fps]
    places = [max(place for place, time in enumerate(times) if place == 0 or time <= at + 1e-6) for at in wanted[::-1]]
    return torch.from_numpy(np.stack([kept[place][1] for place in places]))


def check_video(path: Path) -> None:
    """Looks at the first frame alone. Raises ``ConfigError`` for a file that is no video."""
    with _reading(path), av.open(str(path)) as container:
        next(container.decode(container.streams.video[0]))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, IndexError, OSError, StopIteration) as error:
        what = "it has no frames" if isinstance(error, StopIteration) else error
        raise ConfigError(f"{path} is not a video that can be read: {what}") from error


def fitted(frames: Tensor, height: int, width: int, fit: Fit = "cover") -> Tensor:
    """uint8 ``[T, H, W, 3]`` -> floats ``[T, 3, height, width]`` in 0..1, bicubic with antialiasing."""
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    if fit == "cover":
        _, _, rows, columns = pixels.shape
        scale = max(height / rows, width / columns)
        rows, columns = min(rows, round(height / scale)), min(columns, round(width / scale))
        top, left = (pixels.shape[2] - rows) // 2, (pixels.shape[3] - columns) // 2
        pixels = pixels[:, :, top : top + rows, left : left + columns]
    return F.interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
