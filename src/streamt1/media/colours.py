"""Colours of video files: converted by BT.709 and tagged with it, so that every player shows what was written."""

from __future__ import annotations

import errno
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from streamt1.core.errors import ConfigError

BT709 = 1
"""FFmpeg's number for the matrix, the primaries and the transfer curve alike."""
UNTAGGED = 2
"""FFmpeg's number for a matrix that a file does not name."""
BT601 = 5
MATRICES = {8: "YCgCo", 10: "BT.2020 with constant luminance", 14: "ICtCp"}
"""Names of those that FFmpeg reads and does not convert."""
LIMITED, FULL = 1, 2
"""Ranges of brightness: 16 to 235 ("tv"), as players expect, and 0 to 255."""

Pixels = NDArray[np.uint8]


def tag(codec: Any) -> None:
    """Makes an encoder say which colours it gets, in the stream and in the file around it."""
    codec.colorspace = codec.color_primaries = codec.color_trc = BT709
    codec.color_range = LIMITED


def to_video(pixels: Pixels) -> av.VideoFrame:
    """One uint8 frame ``[H, W, 3]`` -> yuv420p, as `tag` says."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=BT709, src_color_range=FULL, dst_color_range=LIMITED)


def to_pixels(frame: av.VideoFrame, width: int | None = None) -> Pixels:
    """A frame -> uint8 ``[H, W, 3]``, by the file's own tags; files without them are taken as BT.601.

    ``width``: to scale it to, in pixels; its own by default. Raises ``ConfigError`` where FFmpeg cannot convert them.
    """
    matrix = BT601 if frame.colorspace == UNTAGGED else frame.colorspace
    try:
        shown = frame.reformat(width, format="rgb24", src_colorspace=matrix, dst_color_range=FULL)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        name = MATRICES.get(matrix, f"of matrix {matrix} in ITU-T H.273")
        raise ConfigError(
            f"its colours are {name}, which FFmpeg does not convert: convert it to BT.709 first"
        ) from error
    return shown.to_ndarray().astype(np.uint8, copy=False)


def steady() -> dict[str, str]:
    """Options of libx264 with which the same frames always give the same bytes.

    Its AVX-512 code reads beyond the end of lines, and what is there counts, unless the width is a multiple of 64.
    """
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return {"x264-params": "asm=avx2"} if wide else {}
