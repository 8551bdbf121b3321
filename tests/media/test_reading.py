"""Users' pictures and clips: the right colours, the right frames, whatever size, rate and pixel format they have."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from streamt1.core.errors import ConfigError
from streamt1.media.reading import fitted, read_picture, read_tail

RED, BLUE = (200, 40, 30), (20, 60, 190)


def clip(path: Path, colours: list[tuple[int, int, int]], fps: Fraction, size: tuple[int, int], kind: str) -> Path:
    """One plain picture a colour, lossless as far as the pixel format is."""
    matrix = 1 if kind != "rgb24" else 0
    with av.open(str(path), "w") as container:
        codec = "libx264rgb" if kind == "rgb24" else "libx264"
        stream = container.add_stream(codec, rate=fps, options={"crf": "0", "preset": "ultrafast"})
        stream.height, stream.width = size
        stream.pix_fmt = kind
        if matrix:
            stream.codec_context.colorspace = matrix
        for colour in colours:
            pixels = np.broadcast_to(np.array(colour, dtype=np.uint8), (*size, 3)).copy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=kind, dst_colorspace=matrix or None)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("fps", "size", "kind"),
    [
        (Fraction(30), (120, 200), "yuv420p"),
        (Fraction(30000, 1001), (90, 64), "yuv444p"),
        (Fraction(24), (64, 64), "yuv420p10le"),
    ],
)
def test_the_last_frames_of_a_clip_at_another_rate(
    tmp_path: Path, fps: Fraction, size: tuple[int, int], kind: str
) -> None:
    seconds = 2
    first = round(seconds * fps) // 2
    colours = [RED] * first + [BLUE] * (round(seconds * fps) - first)
    tail = read_tail(clip(tmp_path / "clip.mkv", colours, fps, size, kind), 16, 21)
    assert tail.shape == (21, *size, 3)
    mean = tail.float().mean((1, 2))
    expected = torch.tensor([RED if (len(colours) - 1) / fps - back / 16 < first / fps else BLUE for back in range(21)])
    assert (mean - expected.flip(0).float()).abs().max() <= 3


def test_a_short_clip_gives_what_there_is(tmp_path: Path) -> None:
    tail = read_tail(clip(tmp_path / "clip.mkv", [RED] * 12, Fraction(24), (64, 64), "yuv420p"), 16, 50)
    assert len(tail) == 8


def test_pictures_are_turned_and_flattened(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (40, 20), (*RED, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 20, 20))
    picture.save(tmp_path / "half.png")
    frames = read_picture(tmp_path / "half.png")
    assert frames.shape == (1, 20, 40, 3)
    assert frames[0, 10, 30].tolist() == list(RED)
    assert frames[0, 10, 5].tolist() == [0, 0, 0]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), RED).save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").shape == (1, 40, 20, 3)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_neither_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.png"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"file\.png is not a picture that can be read"):
        read_picture(file)
    with pytest.raises(ConfigError, match=r"file\.png is not a video that can be read"):
        read_tail(file, 16, 9)
    with pytest.raises(ConfigError, match="is not a picture"):
        read_picture(tmp_path / "nowhere.png")


def test_another_shape_is_cut_or_stretched() -> None:
    frames = torch.zeros(1, 100, 300, 3, dtype=torch.uint8)
    frames[:, :, 100:200] = 255
    cut = fitted(frames, 64, 64)
    assert cut.shape == (1, 3, 64, 64)
    assert cut.mean() > 0.97, "the middle is kept"
    assert fitted(frames, 64, 96, "stretch").mean() == pytest.approx(1 / 3, abs=0.02)
    assert fitted(frames, 200, 600).shape == (1, 3, 200, 600)
