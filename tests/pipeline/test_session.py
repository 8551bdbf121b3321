"""A running video takes a new prompt at the next chunk boundary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError, PromptError, Stopped
from streamt1.core.timeline import Scene, Timeline
from streamt1.pipeline.extending import extended
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.replay import finished_run, replay
from streamt1.pipeline.run_files import stored_summary
from streamt1.pipeline.session import WAITING, Live
from streamt1.search.watcher import Watcher
from streamt1.trace.events import CandidateProposed, Event, SceneStarted
from tests.pipeline.test_pipeline import PROMPT
from tests.pipeline.test_run_folder import told
from tests.pipeline.test_timeline_runs import OTHER, THIRD


@pytest.fixture(scope="module")
def loaded() -> Pipeline:
    return Pipeline(load_config("pocket", {"search.lag": 1}))


def test_a_prompt_acts_at_the_next_boundary(loaded: Pipeline, tmp_path: Path) -> None:
    chunks = []
    with loaded.session(PROMPT, 3, folder=tmp_path) as session:
        for chunk in session:
            chunks.append(chunk)
            if chunk.index == 1:
                session.prompt(OTHER)
            if chunk.index == 4:
                session.end()
    run = session.finish()
    assert [chunk.index for chunk in chunks] == list(range(len(run.result.beam.lineage)))
    [begun] = [stamped.event for stamped in run.trace if isinstance(stamped.event, SceneStarted)]
    assert 2 <= begun.chunk <= 1 + 1 + 1, "a lag of one chunk"
    summary = stored_summary(tmp_path)
    assert summary is not None
    assert summary["timeline"] == [
        {"prompt": PROMPT, "chunks": begun.chunk, "memory": None}, {"prompt": OTHER, "chunks": None, "memory": None},
    ]  # fmt: skip
    assert not replay(loaded, tmp_path, *finished_run(tmp_path))
    known = Timeline((Scene(PROMPT, begun.chunk), Scene(OTHER, None)))
    with loaded.stream(known, seed=3, endless=True) as stream:
        for chunk, again in zip(chunks[:4], stream):
            assert torch.equal(chunk.pixels, again.pixels), "as if it had been known from the start"


def test_a_session_that_was_killed_goes_on_with_what_was_said(loaded: Pipeline, tmp_path: Path) -> None:
    with loaded.session(PROMPT, folder=tmp_path) as session:
        assert next(session).index == 0
        session.prompt(OTHER)
        assert next(session).index == 1
        assert next(session).index == 2
        assert next(session).index == 3
        session.close()
    again = loaded.session(PROMPT, folder=tmp_path)
    first = next(again)
    run = again.finish()
    assert first.index == 0
    timeline = run.result.timeline
    assert timeline is not None
    assert [scene.prompt for scene in timeline.scenes] == [PROMPT, OTHER]
    assert not replay(loaded, tmp_path, *finished_run(tmp_path))


def test_several_prompts_wait_for_a_boundary_each(loaded: Pipeline) -> None:
    session = loaded.session(THIRD)
    session.prompt(PROMPT)  # before anything is made
    next(session)
    for prompt in (OTHER, OTHER, THIRD):
        session.prompt(prompt)
    with pytest.raises(PromptError, match="zebra"):
        session.prompt("a zebra")
    while next(session).index < 5:
        continue
    timeline = session.finish().result.timeline
    assert timeline is not None
    scenes = [(scene.prompt, scene.chunks) for scene in timeline.scenes]
    assert [prompt for prompt, _ in scenes] == [PROMPT, OTHER, THIRD]
    assert scenes[1][1] == 2, "the same prompt again changes nothing"


def test_a_session_is_ended_before_it_is_read(loaded: Pipeline) -> None:
    session = loaded.session(PROMPT)
    session.end()
    assert [chunk.index for chunk in session] == [0]
    assert len(session.finish().result.beam.lineage) == 1


def test_no_more_prompts_wait_than_can_be_meant() -> None:
    live = Live()
    for _ in range(WAITING):
        live.say(Scene(PROMPT, None))
    with pytest.raises(ConfigError, match="wait"):
        live.say(Scene(PROMPT, None))


def test_an_ending_video_takes_no_prompt_and_begins_no_scene(loaded: Pipeline, tmp_path: Path) -> None:
    session = loaded.session(PROMPT, folder=tmp_path / "run")
    next(session)
    session.prompt(OTHER)
    session.end()
    with pytest.raises(ConfigError, match="the video is ending"):
        session.prompt(OTHER)
    session.finish()
    assert not [event for event in told(tmp_path / "run") if isinstance(event, SceneStarted)]
    with pytest.raises(ConfigError, match="the video is ending"):
        session.prompt(OTHER)


def test_a_scene_of_which_nothing_was_made_is_none_of_the_video(loaded: Pipeline, tmp_path: Path) -> None:
    """Neither does the video's record name it, nor is the video gone on with under it."""

    class Enough(Watcher):
        third = False

        def happened(self, event: Event) -> None:
            self.third |= isinstance(event, SceneStarted) and event.prompt == THIRD
            if self.third and isinstance(event, CandidateProposed):
                raise Stopped("enough")

    session = loaded.session(PROMPT, watcher=Enough(), folder=tmp_path)
    next(session)
    session.prompt(OTHER)
    session.prompt(THIRD)
    first, *_ = [chunk.index for chunk in session]
    assert first == 1
    timeline = session.finish().result.timeline
    assert timeline is not None
    assert [scene.prompt for scene in timeline.scenes] == [PROMPT, OTHER]
    asked, summary = finished_run(tmp_path)
    assert extended(loaded, tmp_path, asked, summary, chunks=2).scenes.scenes[-1].prompt == OTHER


def test_a_session_that_was_closed_is_over(loaded: Pipeline) -> None:
    session = loaded.session(PROMPT)
    session.close()
    assert list(session) == []
    with pytest.raises(ConfigError, match="the video is ending"):
        session.prompt(OTHER)


@pytest.mark.parametrize("prompt", [None, 5, b"a red circle", [("a red circle resting on a navy plain background", 1)]])
def test_a_prompt_is_text(loaded: Pipeline, prompt: Any) -> None:
    with pytest.raises(PromptError, match="a prompt is text, not"):
        loaded.session(prompt)
    session = loaded.session(PROMPT)
    with pytest.raises(PromptError, match="a prompt is text, not"):
        session.prompt(prompt)
    with pytest.raises(ConfigError, match="memory='zap' is none of"):
        session.prompt(PROMPT, "zap")  # type: ignore[arg-type]
