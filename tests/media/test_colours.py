"""Saturated colours, through the encoder and back: by the file's tags, and by BT.709 whatever the tags say."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.media.fragments import FragmentWriter
from streamt1.media.growing import GrowingVideo
from streamt1.media.mp4 import write_video
from streamt1.media.reading import read_video

PATCHES = {
    "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "cyan": (0, 255, 255),
    "magenta": (255, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0), "dark grey": (64, 64, 64),
    "grey": (128, 128, 128), "light grey": (200, 200, 200), "skin": (224, 172, 135), "dark skin": (94, 60, 44),
}  # fmt: skip
SIDE, FRAMES = 48, 6
BT709, BT601 = (0.2126, 0.0722), (0.299, 0.114)
LIMITED = 1
TAGS = (1, 1, 1, LIMITED)


def patches() -> Tensor:
    row = torch.tensor(list(PATCHES.values()), dtype=torch.uint8).repeat_interleave(SIDE, dim=0)
    return row.expand(FRAMES, SIDE, -1, -1).contiguous()


def made(kind: str, folder: Path) -> bytes:
    path = folder / "v.mp4"
    if kind == "file":
        write_video(path, patches(), 16)
        return path.read_bytes()
    if kind == "fragments":
        writer = FragmentWriter(16)
        fragment = writer.write(patches())
        return writer.header + fragment
    video = GrowingVideo(path, 16)
    video.add(patches())
    video.close()
    video.finish(folder / "w.mp4")
    return (path if kind == "growing" else folder / "w.mp4").read_bytes()


def by_matrix(frame: av.VideoFrame, weights: tuple[float, float]) -> np.ndarray:
    """Pixels, computed from the planes in floats, as a standard says and whatever the tags are."""
    assert frame.format.name == "yuv420p"
    planes, (height, width), (red, blue) = frame.to_ndarray().astype(float), (frame.height, frame.width), weights
    y = (planes[:height] - 16) / 219
    small = (planes[height:].reshape(2, height // 2, width // 2) - 128) / 224
    u, v = small.repeat(2, axis=1).repeat(2, axis=2)
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.stack([r, g, b], axis=-1).clip(0, 1) * 255


def error(pixels: np.ndarray) -> float:
    """The largest of any channel in the middle of any patch."""
    shown = pixels[SIDE // 2, SIDE // 2 :: SIDE].astype(float)
    return float(np.abs(shown - np.array(list(PATCHES.values()))).max())


@pytest.mark.parametrize("kind", ["file", "fragments", "growing", "finished"])
def test_colours_are_those_that_were_written(tmp_path: Path, kind: str) -> None:
    content = made(kind, tmp_path)
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == FRAMES
    for frame in frames:
        assert error(by_matrix(frame, BT709)) <= 2
        assert error(frame.to_ndarray(format="rgb24")) <= 2
        assert error(by_matrix(frame, BT601)) > 20, "the patches tell the two matrices apart"
    (tmp_path / "again.mp4").write_bytes(content)
    read, fps = read_video(tmp_path / "again.mp4")
    assert (len(read), fps) == (FRAMES, 16)
    assert all(error(pixels) <= 2 for pixels in read.numpy())


@pytest.mark.parametrize("kind", ["file", "fragments", "growing", "finished"])
def test_colours_are_named_in_the_file_and_in_its_stream(tmp_path: Path, kind: str) -> None:
    content = made(kind, tmp_path)
    box = content.index(b"colr") + 4
    assert content[box : box + 11] == b"nclx" + bytes([0, 1, 0, 1, 0, 1, 0]), "BT.709, and not the full range"
    bare = io.BytesIO()
    with av.open(io.BytesIO(content)) as container, av.open(bare, "w", format="h264") as stream:
        track = stream.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = track
                stream.mux(packet)
    bare.seek(0)
    with av.open(bare, format="h264") as container:
        frame = next(container.decode(video=0))
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == TAGS


def test_files_without_tags_are_read_as_before(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "old.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE * len(PATCHES), "yuv420p"
        stream.options = {"crf": "16", "preset": "medium"}
        for pixels in patches().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "old.mp4")) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    read, _ = read_video(tmp_path / "old.mp4")
    assert np.array_equal(read.numpy(), np.stack(plain))
    assert all(error(pixels) <= 4 for pixels in read.numpy())
