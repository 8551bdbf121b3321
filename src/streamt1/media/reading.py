"""Pictures and clips of a user's, as frames of the size and rate that a model makes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
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

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Of pictures, by Pillow's names: it decodes these by itself. For others (EPS) it runs another program on the file."""
ORIENTATION = ExifTags.Base.Orientation
PLACES: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, 3),
}
"""Where the rows of a file belong in the upright picture, by its orientation in EXIF."""
MOST_PIXELS = 100_000_000
"""Of a picture: twelve times as many as a screen of the largest kind has."""
_SIZES = "it changes its size on the way; convert it to one size first"
STRIP = 1 << 20
"""Pixels of a large picture that are worked on at once."""


def read_picture(file: Path | BinaryIO, name: str | None = None) -> Tensor:
    """uint8 ``[1, H, W, 3]``, turned as the camera says; what is transparent is on black.

    Args:
        name: of the file, for messages; its path by default.

    Raises:
        ConfigError: it is no picture, or a very large one.
    """
    with _opened(file, name or str(file)) as picture:
        picture.load()
        turn = _orientation(picture)
        sides = picture.size if turn in (5, 6, 7, 8) else picture.size[::-1]
        upright = np.empty((*sides, 3), np.uint8)
        rows = PLACES[turn](upright) if turn in PLACES else upright
        step = max(1, STRIP // picture.width)
        for top in range(0, picture.height, step):
            rows[top : top + step] = _in_colours(picture, top, min(picture.height, top + step))
    return torch.from_numpy(upright)[None]


def check_picture(file: Path | BinaryIO, name: str | None = None) -> None:
    """Decodes a picture and keeps nothing of it; takes less room than reading it. Raises as ``read_picture``."""
    with _opened(file, name or str(file)) as picture:
        picture.draft(None, (1, 1))  # a JPEG may be decoded to a smaller size
        picture.load()
        _in_colours(picture, 0, 1)


@contextmanager
def _opened(file: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
    """A picture that is not decoded yet. Whatever is wrong with it inside becomes a ``ConfigError``."""
    Image.init()
    try:
        with Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ConfigError(f"{name} has {picture.width}x{picture.height} pixels; make it smaller first")
            if picture.mode == "F" or (picture.mode == "I" and picture.format not in ("PNG", "PPM")):
                raise ConfigError(f"{name} has pixels of 32 bits, without a scale; save it with 8 or 16 bits")
            yield picture
    except Image.DecompressionBombError as error:
        raise ConfigError(f"{name} has more than {MOST_PIXELS} pixels; make it smaller first") from error
    except (ConfigError, MemoryError):
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
    except UnidentifiedImageError as error:
        raise ConfigError(
            f"{name} is not a picture that can be read: its format is not known; save it as PNG or JPEG"
        ) from error
    except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them
        raise ConfigError(f"{name} is not a picture that can be read: {error}") from error


def _orientation(picture: Image.Image) -> int:
    """How a camera was held, by its EXIF; 1, upright, where that cannot be read."""
    try:
        return picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF is often damaged, and the picture is whole all the same
        return 1


def _in_colours(picture: Image.Image, top: int, bottom: int) -> Pixels:
    """Some rows of a picture, uint8 ``[H, W, 3]``: only these are ever there with four bytes a pixel."""
    rows = picture.crop((0, top, picture.width, bottom))
    if rows.mode.startswith("I"):  # grey of 16 bits
        rows = Image.fromarray((np.asarray(rows).astype(np.uint32) // 257).astype(np.uint8))
    rows = rows.convert("RGBA")
    black = Image.new("RGBA", rows.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, rows).convert("RGB"))


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
            raise ConfigError(_SIZES)
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
    """uint8 frames ``[T, H, W, 3]`` as players show them, and frames per second.

    Raises ``ConfigError`` for a file that does not play, or changes its size on the way.
    """
    with _reading(path), av.open(str(path)) as container:
        stream = container.streams.video[0]
        wide, fps = float(stream.sample_aspect_ratio or 1), float(stream.average_rate or 0)
        frames = [_upright(frame, wide) for frame in container.decode(stream)]
        if not frames or not fps:
            raise ConfigError("it has no frames, or no frame rate")
        if len({frame.shape for frame in frames}) > 1:
            raise ConfigError(_SIZES)
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
        what = "it has no frames" if isinstance(error, StopIteration) else getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} is not a video that can be read: {what}") from error


def fitted(frames: Tensor, height: int, width: int, fit: Fit = "cover") -> Tensor:
    """uint8 ``[T, H, W, 3]`` -> floats ``[T, 3, height, width]`` in 0..1, bicubic with antialiasing.

    One frame after another, and large ones strip by strip: those of a camera are large.
    """
    return torch.cat([_fitted(frame[None].permute(0, 3, 1, 2), height, width, fit) for frame in frames])


def _fitted(pixels: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    rows, columns = pixels.shape[2:]
    if fit == "cover":
        scale = max(height / rows, width / columns)
        rows, columns = min(rows, round(height / scale)), min(columns, round(width / scale))
        top, left = (pixels.shape[2] - rows) // 2, (pixels.shape[3] - columns) // 2
        pixels = pixels[:, :, top : top + rows, left : left + columns]
    if rows * columns > STRIP and columns > width:  # in the order in which it is done at once, to the same numbers
        strips = pixels.split(max(1, STRIP // columns), 2)
        pixels = torch.cat([_bicubic(strip, strip.shape[2], width) for strip in strips], 2)
    elif rows * columns > STRIP:
        strips = pixels.split(max(1, STRIP // rows), 3)
        pixels = torch.cat([_bicubic(strip, height, strip.shape[3]) for strip in strips], 3)
    return _bicubic(pixels, height, width).clamp(0, 1)


def _bicubic(pixels: Tensor, height: int, width: int) -> Tensor:
    """To another size; bytes become numbers in 0..1."""
    pixels = pixels if pixels.is_floating_point() else pixels.float() / 255
    return F.interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False)
