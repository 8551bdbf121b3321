"""Videos that begin with a picture or go on from a clip: what is kept, gone on with, made again and refused."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from streamt1 import generate
from streamt1.config.load import load_config
from streamt1.core.errors import Cancelled, ConfigError, OutputError
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.given import GIVEN
from streamt1.pipeline.packet import Packet
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.replay import finished_run, replay
from streamt1.pipeline.run_files import PACKET, stored_summary
from streamt1.pipeline.run_folder import run_folder
from streamt1.pipeline.stream import Stream
from streamt1.trace.events import ChunkStarted, RunStarted
from tests.pipeline.test_packet import left, made
from tests.pipeline.test_pipeline import PROMPT
from tests.pipeline.test_run_folder import EndsAt, assert_same, told


@pytest.fixture(scope="module")
def loaded() -> Pipeline:
    return Pipeline(load_config("pocket"))


@pytest.fixture(scope="module")
def short(loaded: Pipeline) -> Pipeline:
    return Pipeline(load_config("pocket", {"search.top_k": 1}), loaded.models)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wider than high: red on navy."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    picture = np.full((96, 160, 3), (20, 30, 90), dtype=np.uint8)
    picture[30:66, 60:100] = (210, 40, 40)
    Image.fromarray(picture).save(path)
    return path


def clip_of(path: Path, frames: np.ndarray, fps: Fraction = Fraction(16)) -> Path:
    """Lossless, from ``[T, H, W, 3]`` bytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=fps, options={"crf": "0"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_picture_stands_still_for_a_chunk_and_then_moves(loaded: Pipeline, photo: Path, tmp_path: Path) -> None:
    run = loaded.run(PROMPT, 2, image=photo, folder=tmp_path)
    assert run.pixels.shape[0] == 9 + 2 * 12
    still = run.frames[:9]
    assert (still - still[:1]).abs().mean() < 0.02
    middle = still[:, :, 28:36, 28:36].mean((0, 2, 3))
    assert (middle - torch.tensor([210, 40, 40]) / 255).abs().max() < 0.1, (
        "the middle of the picture is kept, in colour"
    )
    summary = stored_summary(tmp_path)
    assert summary is not None
    assert (summary["chunks"], summary["frames"], summary["given"]["latents"]) == (3, 33, 3)
    started, *events = told(tmp_path)
    assert isinstance(started, RunStarted)
    assert (started.chunks, started.given) == (3, 1)
    assert [event.candidates for event in events if isinstance(event, ChunkStarted)] == [1, 4, 4]


def test_what_is_done_to_a_file_is_said(loaded: Pipeline, photo: Path, tmp_path: Path) -> None:
    given = loaded.given(image=photo)
    assert given is not None
    assert given.told == (
        f"{photo} has 160x96 pixels and is brought to 64x64, its edges cut off",
        f"{photo} stands still for 9 frames, which the model begins with",
    )
    frames = np.zeros((40, 64, 64, 3), dtype=np.uint8)
    given = loaded.given(video=clip_of(tmp_path / "clip.mkv", frames))
    assert given is not None
    assert len(given.latents) == 9
    assert given.told == (f"the last 2.06 s of {tmp_path / 'clip.mkv'} begin the video",)
    assert loaded.given() is None


def test_a_short_clip_begins_with_the_chunks_it_has(loaded: Pipeline, tmp_path: Path) -> None:
    frames = np.zeros((22, 64, 64, 3), dtype=np.uint8)
    given = loaded.given(video=clip_of(tmp_path / "clip.mkv", frames))
    assert given is not None
    assert len(given.latents) == 6
    with pytest.raises(ConfigError, match="is too short: it has 8 frames at 16 a second"):
        loaded.given(video=clip_of(tmp_path / "short.mkv", frames[:8]))


@pytest.mark.parametrize("place", [1, 6, 12, 20])
def test_a_run_that_was_left_equals_one_that_was_not(place: int, short: Pipeline, photo: Path, tmp_path: Path) -> None:
    whole = short.run(PROMPT, 2, 3, image=photo, folder=tmp_path / "whole")
    with pytest.raises(Cancelled):
        short.run(PROMPT, 2, 3, image=photo, folder=tmp_path / "parts", watcher=EndsAt(place))
    assert_same(short.run(PROMPT, 2, 3, image=photo, folder=tmp_path / "parts"), whole)
    assert (tmp_path / "parts" / GIVEN).read_bytes() == (tmp_path / "whole" / GIVEN).read_bytes()


def test_a_run_goes_on_with_the_latents_of_its_folder(short: Pipeline, photo: Path, tmp_path: Path) -> None:
    """Another machine may encode a picture to other last bits."""
    whole = short.run(PROMPT, 2, 3, image=photo, folder=tmp_path / "whole")
    with pytest.raises(Cancelled):
        short.run(PROMPT, 2, 3, image=photo, folder=tmp_path / "parts", watcher=EndsAt(12))
    given = short.given(image=photo)
    assert given is not None
    other = dataclasses.replace(given, latents=given.latents + 1e-4)
    asked = short.asked(PROMPT, 2, 3, given=other)
    assert_same(made(short, asked, tmp_path / "parts"), whole)


def test_it_is_made_again_bit_for_bit(short: Pipeline, photo: Path, tmp_path: Path) -> None:
    run = short.run(PROMPT, 1, image=photo)
    run.save(tmp_path / "saved")
    short.run(PROMPT, 1, image=photo, folder=tmp_path / "written")
    for name in ("saved", "written"):
        asked, summary = finished_run(tmp_path / name)
        assert replay(short, tmp_path / name, asked, summary) == []


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_packet_has_what_was_given(chunk: int, short: Pipeline, photo: Path, tmp_path: Path) -> None:
    asked = short.asked(PROMPT, 2, 3, given=short.given(image=photo))
    whole = made(short, asked, tmp_path / "whole")
    packet = left(short, asked, tmp_path / "parts", chunk)
    assert packet.name == PACKET
    assert Packet.read(packet).bits is None
    assert_same(made(short, asked, tmp_path / "parts", packet=packet), whole)


def test_other_beginnings_are_other_runs(short: Pipeline, photo: Path, tmp_path: Path) -> None:
    short.run(PROMPT, 1, image=photo, folder=tmp_path / "run")
    Image.new("RGB", (64, 64), (1, 2, 3)).save(tmp_path / "other.png")
    for begins, message in (
        ({}, "it begins with a picture or a video"),
        ({"image": tmp_path / "other.png"}, "it begins with another picture or video"),
    ):
        with pytest.raises(OutputError, match=f"holds another run .{message}"):
            short.run(PROMPT, 1 if begins else 2, folder=tmp_path / "run", **begins)
    short.run(PROMPT, 2, folder=tmp_path / "text")
    with pytest.raises(OutputError, match="it begins with text alone"):
        short.run(PROMPT, 1, image=photo, folder=tmp_path / "text")
    short.run(PROMPT, 1, folder=tmp_path / "run", fresh=True)
    assert not (tmp_path / "run" / GIVEN).exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "cannot read .*given.safetensors: No such file"),
        (lambda path: path.write_bytes(b"{}"), "given.safetensors is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"), "is not what this run began with"),
    ],
)
def test_lost_beginnings_are_named(damage, message: str, short: Pipeline, photo: Path, tmp_path: Path) -> None:
    short.run(PROMPT, 1, image=photo, folder=tmp_path)
    damage(tmp_path / GIVEN)
    summary = json.loads((tmp_path / "run.json").read_text())
    with pytest.raises(OutputError, match=message):
        Asked.stored(summary, tmp_path)


def test_what_cannot_be_is_refused(loaded: Pipeline, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give image or video, not both"):
        loaded.run(PROMPT, 1, image=photo, video=photo)
    with pytest.raises(ConfigError, match="is not a video that can be read"):
        generate(PROMPT, video=tmp_path / "nowhere.mp4")
    without = Pipeline(loaded.config, dataclasses.replace(loaded.models, encoder=None))
    with pytest.raises(ConfigError, match=r"^these models begin videos with text alone"):
        without.run(PROMPT, 1, image=photo)


def test_scenes_and_videos_without_an_end_begin_so_too(short: Pipeline, photo: Path, tmp_path: Path) -> None:
    other = "a green star sliding on a teal plain background"
    run = short.run([{"prompt": PROMPT, "chunks": 1}, {"prompt": other, "chunks": 1}], image=photo)
    assert run.result.timeline is not None
    assert [scene.chunks for scene in run.result.timeline.scenes] == [2, 1]
    with short.stream(PROMPT, endless=True, image=photo, folder=tmp_path) as stream:
        lengths = [len(next(stream).pixels) for _ in range(2)]
    assert lengths == [9, 12]


def test_an_asked_timeline_counts_what_is_given(short: Pipeline, photo: Path, tmp_path: Path) -> None:
    asked = short.asked(PROMPT, 2, 3, given=short.given(image=photo))
    assert asked.chunks == 3
    again = short.asked(asked.scenes, None, 3, given=asked.given)
    assert again.record() == asked.record()
    with run_folder(tmp_path, again, 16) as folder:
        assert len(Stream(short.search(again, folder, EndsAt(-1))).finish().pixels) == 33
