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
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.types import Fit
from streamt1.media.colours import Pixels, to_pixels

ORIENTATION = ExifTags.Base.Orientation
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What makes a picture upright, by its orientation in EXIF."""
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
            turned = _in_colours(opened, name).convert("RGBA")
            turn = TURNS.get(_orientation(opened))
            turned = turned if turn is None else turned.transpose(turn)
    except Image.DecompressionBombError as error:
        raise ConfigError(f"{name} has more than {MOST_PIXELS} pixels; make it smaller first") from error
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them
        what = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise ConfigError(f"{name} is not a picture that can be read: {what}") from error
    black = Image.new("RGBA", turned.size, (0, 0, 0, 255))
    return torch.from_numpy(np.asarray(Image.alpha_composite(black, turned).convert("RGB")).copy())[None]


def _orientation(picture: Image.Image) -> int:
    """How a camera was held, by its EXIF; 1, upright, where that cannot be read."""
    try:
        return picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF is often damaged, and the picture is whole all the same
        return 1


def _in_colours(picture: Image.Image, name: str) -> Image.Image:
    """A picture of 8 bits a number. Raises ``ConfigError`` for one of numbers without a scale."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        return Image.fromarray((np.asarray(picture).astype(np.uint32) // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ConfigError(f"{name} has pixels of 32 bits, without a scale; save it with 8 or 16 bits")
    return picture


def read_tail(path: Path, fps: float, most: int) -> Tensor:
    """The last frames of a clip at a rate, uint8 ``[T, H, W, 3]``: ``most`` of them, or as many as there are.

    Each is the one that is shown at its time, turned as the camera says, its pixels made square. Where the clock of a
    file starts again, as in two files that were joined, it goes on. Raises ``ConfigError`` for a file that is no video.
    """
    kept: deque[tuple[float, av.VideoFrame]] = deque()
    with _reading(path), av.open(str(path)) as container:
        stream = container.streams.video[0]
        step, behind = 1 / float(stream.average_rate or fps), 0.0
        for index, frame in enumerate(container.decode(stream)):
            time = (frame.time if frame.time is not None else index * step) + behind
            if kept and time < kept[-1][0]:
                behind += kept[-1][0] + step - time
                time = kept[-1][0] + step
            kept.append((time, frame))
            while len(kept) > 2 and kept[1][0] < time - (most + 1) / fps:
                kept.popleft()
        if not kept:
            raise StopIteration
        if len({(frame.width, frame.height, _turned(frame)) for _, frame in kept}) > 1:
            raise ConfigError("it changes its size on the way; convert it to one size first")
        times = [time for time, _ in kept]
        wanted = [times[-1] - back / fps for back in range(most) if times[-1] - back / fps > times[0] - 0.5 / fps]
        shown = [max(at for at, time in enumerate(times) if at == 0 or time <= end + 1e-6) for end in wanted[::-1]]
        wide = stream.sample_aspect_ratio or 1
        pixels = {at: _upright(kept[at][1], float(wide)) for at in dict.fromkeys(shown)}
    return torch.from_numpy(np.stack([pixels[at] for at in shown]))


def _upright(frame: av.VideoFrame, wide: float) -> Pixels:
    """A frame as players show it; ``wide``: how much wider than high its pixels are."""
    pixels, (a, b, c, d) = to_pixels(frame, max(1, round(frame.width * wide))), _turned(frame)
    if abs(b) > abs(a):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: _step(d), :: _step(a)])


def _step(number: int) -> int:
    return -1 if number < 0 else 1


def _turned(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix that a camera wrote, turn and mirror: (x, y) is shown at (a x + c y, b x + d y)."""
    told = frame.side_data.get("DISPLAYMATRIX")
    if told is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(told, np.int32).tolist()
    return a, b, c, d


def read_video(path: Path) -> tuple[Tensor, float]:
    """uint8 frames ``[T, H, W, 3]`` and frames per second. Raises ``ConfigError`` for a file that does not play."""
    with _reading(path), av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [to_pixels(frame) for frame in container.decode(stream)]
        fps = float(stream.average_rate or 0)
        if not frames or not fps:
            raise ConfigError("it has no frames, or no frame rate")
    return torch.from_numpy(np.stack(frames)), fps


def check_video(path: Path) -> None:
    """Looks at the first frame alone. Raises ``ConfigError`` for a file that is no video."""
    with _reading(path), av.open(str(path)) as container:
        next(container.decode(container.streams.video[0]))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (ConfigError, FFmpegError, IndexError, OSError, StopIteration) as error:
        what = "it has no frames" if isinstance(error, StopIteration) else error
        raise ConfigError(f"{path} is not a video that can be read: {what}") from error


def fitted(frames: Tensor, height: int, width: int, fit: Fit = "cover") -> Tensor:
    """uint8 ``[T, H, W, 3]`` -> floats ``[T, 3, height, width]`` in 0..1, bicubic with antialiasing.

    One frame after another: those of a camera are large.
    """
    return torch.cat([_fitted(frame[None], height, width, fit) for frame in frames])


def _fitted(frames: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    if fit == "cover":
        _, _, rows, columns = pixels.shape
        scale = max(height / rows, width / columns)
        rows, columns = min(rows, round(height / scale)), min(columns, round(width / scale))
        top, left = (pixels.shape[2] - rows) // 2, (pixels.shape[3] - columns) // 2
        pixels = pixels[:, :, top : top + rows, left : left + columns]
    return F.interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
