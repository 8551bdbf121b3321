"""Pictures and videos inside the page, as data addresses, no larger than the page allows."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError

from streamt1.core.errors import TraceError

ATTEMPTS = ((640, 0.9), (480, 0.6), (320, 0.3))
"""A video that is too large is encoded again, at most so wide and aiming at this share of the budget, until it fits:
the encoder cannot always keep to a rate, least of all in short videos."""

LEAST_RATE = 20_000
"""Bits per second; the encoder refuses what makes no sense."""
COLOURS = ("colorspace", "color_primaries", "color_trc", "color_range")
"""What a video says of its colours; one that is encoded again says the same."""


def data_address(content: bytes, kind: str) -> str:
    """``data:KIND;base64,...``, a third larger than its content."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def embedded_video(path: Path, budget: int) -> str | None:
    """An MP4 file as a data address of at most ``budget`` bytes before base64; None where none can be made so small.

    Raises:
        TraceError: the file cannot be read, or holds no video.
    """
    try:
        content = path.read_bytes()
        for width, share in ATTEMPTS:
            if len(content) <= budget:
                break
            content = _shrunk(path, width, int(share * budget))
    except (OSError, FFmpegError, IndexError) as error:
        raise TraceError(f"cannot read the video {path}: {error}") from error
    return data_address(content, "video/mp4") if len(content) <= budget else None


def _shrunk(path: Path, width: int, size: int) -> bytes:
    """The video again, at most ``width`` wide, at the bit rate that gives ``size`` bytes."""
    buffer = io.BytesIO()
    with av.open(str(path)) as source, av.open(buffer, "w", format="mp4") as target:
        video = source.streams.video[0]
        rate = video.average_rate or 16
        scale = min(1.0, width / video.width)
        out = target.add_stream("libx264", rate=rate)
        out.width, out.height = (max(2, round(side * scale) // 2 * 2) for side in (video.width, video.height))
        out.pix_fmt, out.options = "yuv420p", {"preset": "fast"}
        for name in COLOURS:
            setattr(out.codec_context, name, getattr(video.codec_context, name))
        seconds = max(video.frames, 1) / float(rate)
        out.bit_rate = max(LEAST_RATE, int(size * 8 / seconds))
        for index, frame in enumerate(source.decode(video)):
            small = frame.reformat(width=out.width, height=out.height, format="yuv420p")
            small.pts, small.time_base = index, 1 / Fraction(rate)
            target.mux(out.encode(small))
        target.mux(out.encode(None))
    return buffer.getvalue()
