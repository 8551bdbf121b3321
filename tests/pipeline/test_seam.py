"""Clips of other sizes, rates and pixel formats are gone on from without a jump, in their colours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from streamt1.config.load import load_config
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pocket.paths import sample_take
from streamt1.pocket.scenes import parse
from streamt1.pocket.world import render

PROMPT = "a red circle bouncing on a teal striped background"
SECONDS = 3
BT709, BT601 = 1, 5


@pytest.fixture(scope="module")
def loaded() -> Pipeline:
    return Pipeline(load_config("pocket"))


def world() -> np.ndarray:
    """True frames at 16 a second, ``[T, 64, 64, 3]`` bytes."""
    scene = parse(PROMPT)
    shown = render(scene, sample_take(np.random.default_rng(4), scene), SECONDS * 16)
    return np.round(np.moveaxis(shown, 1, -1) * 255).astype(np.uint8)


def filmed(path: Path, frames: np.ndarray, fps: Fraction, size: tuple[int, int], kind: str, matrix: int) -> Path:
    """The world's square in the middle of a picture of that size, whose edges go on outwards."""
    height, width = size
    side = min(size)
    edges = [((whole - side) // 2, whole - side - (whole - side) // 2) for whole in size]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, kind
        stream.codec_context.colorspace = matrix
        for index in range(round(SECONDS * fps)):
            square = Image.fromarray(frames[int(index * 16 / fps)]).resize((side, side), Image.Resampling.BICUBIC)
            picture = np.pad(np.asarray(square), (*edges, (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=kind, dst_colorspace=matrix)))
        container.mux(stream.encode(None))
    return path


def steps(frames: Tensor) -> Tensor:
    """How far each frame is from the one before, ``[T - 1]``."""
    return (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))


@pytest.mark.parametrize(
    ("fps", "size", "kind", "matrix"),
    [
        (Fraction(30), (180, 320), "yuv420p", BT601),
        (Fraction(24), (128, 128), "yuv444p10le", BT709),
        (Fraction(60000, 1001), (426, 240), "yuv422p", BT709),
    ],
)
def test_no_jump(
    fps: Fraction, size: tuple[int, int], kind: str, matrix: int, loaded: Pipeline, tmp_path: Path
) -> None:
    true = world()
    run = loaded.run(PROMPT, 2, video=filmed(tmp_path / "clip.mp4", true, fps, size, kind, matrix))
    assert run.given is not None
    given = 1 + 4 * (len(run.given.latents) - 1)
    assert given == 33
    frames, moved = run.frames, steps(run.frames)
    seam, inside = moved[given - 1], torch.cat([moved[: given - 1], moved[given:]]).mean()
    assert seam <= 2 * inside, f"the seam's step is {seam / inside:.2f} times those inside"
    expected = torch.from_numpy(true[-given:]).permute(0, 3, 1, 2) / 255
    assert (frames[:given].mean((0, 2, 3)) - expected.mean((0, 2, 3))).abs().max() < 0.02
    assert (frames[:given] - expected).abs().mean() < 0.04
    made, last = frames[given:].mean((0, 2, 3)), expected[-8:].mean((0, 2, 3))
    assert (made - last).abs().max() < 0.03, "what is made has the clip's colours"
