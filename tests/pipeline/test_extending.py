"""Finished runs are made longer: the new video begins with the whole old one, and goes on from its end."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError
from streamt1.pipeline.extending import extended
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.recorder import Recorder
from streamt1.pipeline.replay import finished_run, replay
from streamt1.pipeline.run import Run
from streamt1.pipeline.stream import Stream
from tests.pipeline.test_packet import StopsIn, made
from tests.pipeline.test_pipeline import PROMPT
from tests.pipeline.test_run_folder import EndsAt, assert_same

OTHER = "a green star sliding on a teal plain background"


@pytest.fixture(scope="module")
def loaded() -> Pipeline:
    return Pipeline(load_config("pocket"))


@pytest.fixture(scope="module")
def run(loaded: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return loaded.run(PROMPT, 3, 5, folder=tmp_path_factory.mktemp("run"))


def folder_of(run: Run) -> Path:
    assert run.folder is not None
    return run.folder


def longer(pipeline: Pipeline, run: Run, out: Path, chunks: int = 2, prompt: str | None = None) -> Run:
    asked, summary = finished_run(folder_of(run))
    return made(pipeline, extended(pipeline, folder_of(run), asked, summary, chunks, prompt), out)


def test_the_video_goes_on_where_it_ended(loaded: Pipeline, run: Run, tmp_path: Path) -> None:
    more = longer(loaded, run, tmp_path / "more")
    assert len(more.pixels) == len(run.pixels) + 2 * 12
    assert torch.equal(more.pixels[: len(run.pixels)], run.pixels)
    before, after = run.result.beam.chunks, more.result.beam.chunks
    assert [chunk.route for chunk in after[:2]] == [chunk.route for chunk in before[:2]], "memory is what it was"
    moved = (more.frames[1:] - more.frames[:-1]).abs().mean((1, 2, 3))
    before_it = moved[: len(run.pixels) - 1]
    assert moved[len(run.pixels) - 1] <= before_it.max(), "no larger than between the chunks before"
    asked, summary = finished_run(tmp_path / "more")
    assert summary["chunks"] == 5
    assert replay(loaded, tmp_path / "more", asked, summary) == []
    again = longer(loaded, more, tmp_path / "again", 1)
    assert torch.equal(again.pixels[: len(more.pixels)], more.pixels)


def test_a_new_scene_begins_behind_it(loaded: Pipeline, run: Run, tmp_path: Path) -> None:
    more = longer(loaded, run, tmp_path / "more", 2, OTHER)
    assert torch.equal(more.pixels[: len(run.pixels)], run.pixels)
    assert more.result.timeline is not None
    assert [(scene.prompt, scene.chunks) for scene in more.result.timeline.scenes] == [(PROMPT, 3), (OTHER, 2)]
    assert longer(loaded, run, tmp_path / "same", 1, PROMPT).result.timeline is None
    third = longer(loaded, more, tmp_path / "third", 1)
    assert third.result.timeline is not None
    assert [scene.chunks for scene in third.result.timeline.scenes] == [3, 3]


def test_one_that_was_left_goes_on(loaded: Pipeline, run: Run, tmp_path: Path) -> None:
    whole = longer(loaded, run, tmp_path / "whole", 2, OTHER)
    asked, summary = finished_run(folder_of(run))
    wanted = extended(loaded, folder_of(run), asked, summary, 2, OTHER)
    for watcher in (EndsAt(9), StopsIn(4)):
        with pytest.raises(Exception, match="that is enough"):
            made(loaded, wanted, tmp_path / "parts", watcher)
    assert_same(made(loaded, wanted, tmp_path / "parts"), whole)


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def of_another_vae(path: Path) -> None:
    told = path.with_name("run.json")
    told.write_text(re.sub(r'("pocket_vae.safetensors": ")[^"]*', r"\g<1>1-0", told.read_text()))


@pytest.mark.parametrize(
    ("lose", "keeps"),
    [
        (Path.unlink, "no latents that are whole"),
        (damaged, "no latents that are whole"),
        (lambda path: path.write_bytes(b"{"), "no latents that are whole"),
        (of_another_vae, "latents of another VAE"),
    ],
)
def test_without_its_latents_the_video_is_gone_on_from(
    lose: Callable[[Path], object], keeps: str, loaded: Pipeline, tmp_path: Path
) -> None:
    old = loaded.run(PROMPT, 2, policy="greedy", folder=tmp_path / "old")
    lose(tmp_path / "old" / "latents.safetensors")
    asked, summary = finished_run(tmp_path / "old")
    wanted = extended(loaded, tmp_path / "old", asked, summary, 1)
    assert wanted.given is not None
    assert f"keeps {keeps}: it is gone on from by its video's last" in wanted.given.told[0]
    more = made(loaded, wanted, tmp_path / "more")
    assert len(more.pixels) == 21 + 12
    assert (more.frames[:21] - old.frames).abs().mean() < 0.05


def test_a_video_without_an_end_is_gone_on_from(loaded: Pipeline, tmp_path: Path) -> None:
    loaded.run(PROMPT, policy="greedy", endless=True, folder=tmp_path / "old", watcher=StopsIn(2))
    assert not (tmp_path / "old" / "latents.safetensors").exists()
    asked, summary = finished_run(tmp_path / "old")
    wanted = extended(loaded, tmp_path / "old", asked, summary, 1, OTHER)
    assert wanted.chunks == 3
    run = Stream(loaded.search(wanted, Recorder(), EndsAt(-1))).finish()
    assert len(run.pixels) == 33
    assert run.result.timeline is not None
    assert [scene.prompt for scene in run.result.timeline.scenes] == [PROMPT, OTHER]


def test_models_that_begin_with_text_alone_say_so(loaded: Pipeline, run: Run) -> None:
    without = Pipeline(loaded.config, dataclasses.replace(loaded.models, encoder=None))
    asked, summary = finished_run(folder_of(run))
    with pytest.raises(ConfigError, match="begin videos with text alone"):
        extended(without, folder_of(run), asked, summary, 1)
