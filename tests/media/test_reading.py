"""Users' pictures and clips: the right colours, the right frames, whatever size, rate and pixel format they have."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import EpsImagePlugin, Image, ImageOps

from streamt1.core.errors import ConfigError
from streamt1.media import reading
from streamt1.media.reading import check_picture, fitted, read_picture, read_tail, read_video

RED, BLUE = (200, 40, 30), (20, 60, 190)


def clip(
    path: Path,
    colours: list[tuple[int, int, int]],
    fps: Fraction,
    size: tuple[int, int],
    kind: str,
    tag: int | None = None,
) -> Path:
    """One plain picture a colour, lossless as far as the pixel format is; ``tag``: the matrix that the file names."""
    matrix = 1 if kind != "rgb24" else 0
    with av.open(str(path), "w") as container:
        codec = "libx264rgb" if kind == "rgb24" else "libx264"
        stream = container.add_stream(codec, rate=fps, options={"crf": "0", "preset": "ultrafast"})
        stream.height, stream.width = size
        stream.pix_fmt = kind
        if matrix:
            stream.codec_context.colorspace = tag or matrix
        for colour in colours:
            pixels = np.broadcast_to(np.array(colour, dtype=np.uint8), (*size, 3)).copy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=kind, dst_colorspace=matrix or None)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("matrix", "says"), [(8, "YCgCo"), (10, "BT.2020 with constant luminance"), (13, "of matrix 13")]
)
def test_colours_that_are_not_converted_are_named(tmp_path: Path, matrix: int, says: str) -> None:
    path = clip(tmp_path / "clip.mkv", [RED] * 8, Fraction(16), (64, 64), "yuv444p", matrix)
    for read in (lambda: read_tail(path, 16, 3), lambda: read_video(path)):
        with pytest.raises(ConfigError, match=f"clip.mkv is not a video that can be read: its colours are {says}"):
            read()


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_the_camera_says(tmp_path: Path, orientation: int) -> None:
    """As Pillow's own ``exif_transpose`` has it, which writes all EXIF again, and fails where that is damaged."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = orientation, "camera"
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(read_picture(tmp_path / "turned.png")[0], expected)


def test_damaged_exif_does_not_damage_a_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "camera"
    Image.new("RGB", (40, 20), RED).save(tmp_path / "turned.jpg", exif=exif)
    content = (tmp_path / "turned.jpg").read_bytes()
    tag = content.index(b"\x01\x10\x00\x02" if b"MM\x00*" in content else b"\x10\x01\x02\x00")
    kind = b"\x00\x05" if b"MM\x00*" in content else b"\x05\x00"
    (tmp_path / "turned.jpg").write_bytes(content[: tag + 2] + kind + content[tag + 4 :])  # a fraction, not a text
    assert read_picture(tmp_path / "turned.jpg").shape == (1, 40, 20, 3)


@pytest.mark.parametrize("error", [RuntimeError, TypeError, struct.error, NotImplementedError, OverflowError])
def test_whatever_a_format_raises_is_one_refusal(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "file.png")

    def broken(self: object) -> None:
        raise error("the decoder says so")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", broken)
    with pytest.raises(ConfigError, match=r"file\.png is not a picture that can be read: the decoder says so"):
        read_picture(tmp_path / "file.png")


def test_sixteen_bits_of_grey_are_scaled(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(grey).save(tmp_path / name)
        seen = read_picture(tmp_path / name)[0].numpy()
        assert np.abs(seen - (grey / 257)[..., None]).max() <= 1
    (tmp_path / "grey.pgm").write_bytes(b"P5 8 8 65535\n" + grey.astype(">u2").tobytes())
    seen = read_picture(tmp_path / "grey.pgm")[0].numpy()
    assert np.abs(seen - (grey / 257)[..., None]).max() <= 1
    for mode in ("I", "F"):
        Image.new(mode, (8, 8), 3).save(tmp_path / "other.tif")
        with pytest.raises(ConfigError, match="pixels of 32 bits, without a scale"):
            read_picture(tmp_path / "other.tif")


def upper_half_red(path: Path, seconds: int = 1, aspect: Fraction | None = None) -> Path:
    """Lossless, 64 high and 96 wide; in the last frame a blue corner, upper left."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv444p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for place in range(16 * seconds):
            pixels = np.zeros((64, 96, 3), dtype=np.uint8)
            pixels[:32] = RED
            if place == 16 * seconds - 1:
                pixels[:16, :16] = BLUE
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "matrix", [own for p, q in itertools.product((-1, 1), repeat=2) for own in ((p, 0, 0, q), (0, p, q, 0))]
)
def test_a_clip_stands_as_the_camera_says(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """By the matrix of its track, where it turns and mirrors: a phone that is held upright writes wide frames."""
    a, b, c, d = matrix
    path = upper_half_red(tmp_path / "clip.mp4")
    plain, whole = read_tail(path, 16, 9), read_video(path)[0]
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    for at, number in zip((0, 4, 12, 16), matrix):
        content[place + at : place + at + 4] = struct.pack(">i", number << 16)
    path.write_bytes(bytes(content))
    turned = read_tail(path, 16, 9)
    rows, columns = (96, 64) if b else (64, 96)
    assert turned.shape == (9, rows, columns, 3)
    assert torch.equal(read_video(path)[0][-9:], turned)
    assert torch.equal(whole[-9:], plain)
    for y, x in ((4, 5), (60, 90), (30, 7), (33, 70)):
        right, down = a * x + c * y, b * x + d * y
        right, down = (
            one if one >= 0 and not negative else size - 1 + one
            for one, size, negative in ((right, columns, a < 0 or c < 0), (down, rows, b < 0 or d < 0))
        )
        assert turned[-1, down, right].tolist() == plain[-1, y, x].tolist()


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    wide = read_tail(upper_half_red(tmp_path / "clip.mp4", aspect=Fraction(2)), 16, 1)
    assert wide.shape == (1, 64, 192, 3)
    assert torch.equal(read_video(tmp_path / "clip.mp4")[0][-1:], wide)
    assert abs(wide[0, 8, 16].int() - torch.tensor(BLUE)).max() < 12
    assert abs(wide[0, 8, 100].int() - torch.tensor(RED)).max() < 12


@pytest.mark.parametrize("lengths", [(3, 1), (1, 3)])
def test_a_clock_that_starts_again_goes_on(tmp_path: Path, lengths: tuple[int, int]) -> None:
    """As in two streams that were joined byte by byte."""
    parts = [upper_half_red(tmp_path / f"{place}.ts", seconds) for place, seconds in enumerate(lengths)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    tail = read_tail(joined, 16, 33)
    assert len(tail) == 33
    blue = [place for place, frame in enumerate(tail) if frame[4, 4, 2] > 100]
    assert blue[-1] == 32
    assert len(blue) == (2 if lengths[1] == 1 else 1)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_neither_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.png"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"file\.png is not a picture that can be read"):
        read_picture(file)
    with pytest.raises(ConfigError, match=r"file\.png is not a video that can be read"):
        read_tail(file, 16, 9)
    for read in (read_picture, check_picture):
        with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.png: No such file"):
            read(tmp_path / "nowhere.png")
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        read_picture(tmp_path)
    with pytest.raises(ConfigError) as told:
        read_tail(file, 16, 9)
    assert "Errno" not in str(told.value)


def encoded(kind: str, picture: Image.Image) -> BytesIO:
    file = BytesIO()
    picture.save(file, kind)
    file.seek(0)
    return file


@pytest.mark.parametrize("look", [read_picture, check_picture])
def test_no_program_is_run_on_a_picture(look: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow opens PostScript, and has Ghostscript draw it."""
    ran = list[object]()
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *told, **more: ran.append(told))
    with pytest.raises(ConfigError, match="the file is not a picture that can be read: its format is not known; save"):
        look(encoded("EPS", Image.new("RGB", (40, 20), RED)), "the file")
    assert not ran


@pytest.mark.parametrize("kind", reading.FORMATS)
def test_formats_that_are_read(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    picture = encoded(kind, Image.new("RGB", (40, 20), RED))
    check_picture(picture)
    assert abs(read_picture(picture)[0, 10, 20].int() - torch.tensor(RED)).max() < 5


def test_a_large_picture_is_worked_on_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one bit a pixel, ten megabytes of RAM become four hundred with four bytes, and twelve hundred as floats."""
    sizes, floats, convert, interpolate = [], [], Image.Image.convert, F.interpolate

    def converting(self: Image.Image, *told: object, **more: object) -> Image.Image:
        sizes.append(self.width * self.height)
        return convert(self, *told, **more)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def resizing(pixels: torch.Tensor, *told: object, **more: object) -> torch.Tensor:
        floats.append(pixels.shape[2] * pixels.shape[3])
        return interpolate(pixels, *told, **more)  # pyright: ignore[reportArgumentType]

    noise = np.random.default_rng(0).integers(0, 2, (300, 200), dtype=np.uint8)
    file = encoded("PNG", Image.fromarray(255 * noise).convert("1"))
    whole = read_picture(file)
    whole_fitted = {size: fitted(whole, *size) for size in ((32, 48), (32, 200), (400, 300))}
    monkeypatch.setattr(reading, "STRIP", 4000)
    monkeypatch.setattr(Image.Image, "convert", converting)
    monkeypatch.setattr(F, "interpolate", resizing)
    check_picture(file)
    assert torch.equal(read_picture(file), whole)
    assert max(sizes) <= 4000
    assert torch.equal(fitted(whole, 32, 48), whole_fitted[32, 48])
    assert max(floats) <= 300 * 48
    for size in ((32, 200), (400, 300)):
        assert (fitted(whole, *size) - whole_fitted[size]).abs().max() < 1e-6


def test_another_shape_is_cut_or_stretched() -> None:
    frames = torch.zeros(1, 100, 300, 3, dtype=torch.uint8)
    frames[:, :, 100:200] = 255
    cut = fitted(frames, 64, 64)
    assert cut.shape == (1, 3, 64, 64)
    assert cut.mean() > 0.97, "the middle is kept"
    assert fitted(frames, 64, 96, "stretch").mean() == pytest.approx(1 / 3, abs=0.02)
    assert fitted(frames, 200, 600).shape == (1, 3, 200, 600)
