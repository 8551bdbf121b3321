"""A video that is read while it is made."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import streamt1
from streamt1 import Cancelled, ConfigError, Pipeline, PromptError, UnknownNameError, load_config
from streamt1.core.frames import truncated
from streamt1.core.protocols import Decoder
from streamt1.trace.events import ChunkStarted, Event
from tests.search.toy import Seen

PROMPT = "a purple square sliding on a gray plain background"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(load_config("pocket", {"search.lag": 1}))


def held(pipeline: Pipeline) -> int:
    backbone: Any = pipeline.models.backbone
    return backbone.memory.pool.live


@pytest.mark.parametrize("policy", ["greedy", "best_of_n", "beam", "stream_t1"])
def test_a_stream_gives_the_same_video_chunk_by_chunk(pipeline: Pipeline, policy: str) -> None:
    whole = pipeline.run(PROMPT, 5, seed=3, policy=policy)
    stream = pipeline.stream(PROMPT, 5, seed=3, policy=policy)
    chunks = list(stream)
    assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4]
    assert [len(chunk.frames) for chunk in chunks] == [9, 12, 12, 12, 12]
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks]), whole.frames)
    run = stream.finish()
    assert run is stream.finish()
    assert torch.equal(run.frames, whole.frames)
    assert [stamped.event.kind for stamped in run.trace] == [stamped.event.kind for stamped in whole.trace]


def test_chunks_come_before_the_search_is_over_and_no_faster_than_they_are_read(pipeline: Pipeline) -> None:
    seen = Seen()
    stream = pipeline.stream(PROMPT, 5, watcher=seen)
    assert not seen.events, "nothing happens before the first chunk is asked for"
    next(stream)
    started = [event.chunk for event in seen.events if isinstance(event, ChunkStarted)]
    assert started[-1] < 4
    assert seen.chunks[0][0] == 0
    next(stream)
    assert len([event for event in seen.events if isinstance(event, ChunkStarted)]) <= len(started) + 1
    stream.close()


def test_a_stream_that_is_left_gives_its_memory_back(pipeline: Pipeline) -> None:
    with pipeline.stream(PROMPT, 5) as stream:
        next(stream)
        assert held(pipeline) > 0
    assert held(pipeline) == 0
    assert list(stream) == []
    with pytest.raises(Cancelled, match="ended before its video was whole"):
        stream.finish()


def test_what_a_reader_does_meanwhile_costs_the_search_nothing(pipeline: Pipeline) -> None:
    stream = pipeline.stream(PROMPT, 3)
    for _ in stream:
        time.sleep(0.5)
    cost = stream.finish().result.cost
    assert cost.seconds["total"] == pytest.approx(sum(cost.seconds.values()) - cost.seconds["total"], abs=0.3)


def test_what_is_wrong_is_said_at_once(pipeline: Pipeline) -> None:
    with pytest.raises(PromptError, match="'dragon'"):
        pipeline.stream("a red dragon", 2)
    with pytest.raises(ConfigError, match="chunks=0"):
        pipeline.stream(PROMPT, 0)
    with pytest.raises(ConfigError, match="not both"):
        pipeline.stream(PROMPT, 2, seconds=1)
    with pytest.raises(ConfigError, match="below one chunk"):
        pipeline.stream(PROMPT, seconds=0.1)


def test_settings_that_cannot_be_are_said_at_once(pipeline: Pipeline) -> None:
    with pytest.raises(UnknownNameError, match="policy 'nonsense'"):
        pipeline.stream(PROMPT, 2, policy="nonsense")
    with pytest.raises(ConfigError, match="buys no 4 chunks"):
        streamt1.stream(PROMPT, chunks=4, budget_passes=3)


def test_a_readers_frames_are_its_own(pipeline: Pipeline) -> None:
    whole = pipeline.run(PROMPT, 4, seed=3)
    stream = pipeline.stream(PROMPT, 4, seed=3)
    for chunk in stream:
        chunk.frames.zero_()
    assert torch.equal(stream.finish().frames, whole.frames)
    assert stream.finish().result.final == whole.result.final


def test_a_stream_that_was_read_to_its_last_chunk_has_a_run_although_it_is_closed(pipeline: Pipeline) -> None:
    stream = pipeline.stream(PROMPT, 3)
    for chunk in stream:
        if chunk.index == 2:
            break
    stream.close()
    assert len(stream.finish().frames) == 33


def test_a_watcher_ends_a_stream(pipeline: Pipeline) -> None:
    def enough(event: Event) -> None:
        if isinstance(event, ChunkStarted) and event.chunk == 3:
            raise Cancelled("enough")

    got: list[int] = []
    with pytest.raises(Cancelled, match="enough"):
        got.extend(chunk.index for chunk in pipeline.stream(PROMPT, 5, watcher=Seen(enough)))
    assert got == sorted(got)
    assert held(pipeline) == 0


def test_five_seconds_are_made_where_no_length_is_given(pipeline: Pipeline) -> None:
    assert pipeline.length(None, None) == pipeline.chunks_for(5) == 7


def test_the_one_call_api() -> None:
    chunks = list(streamt1.stream(PROMPT, chunks=2, top_k=1, beam_size=1))
    assert [tuple(chunk.frames.shape) for chunk in chunks] == [(9, 3, 64, 64), (12, 3, 64, 64)]


def test_a_prompt_is_encoded_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Pipeline(load_config("pocket"))
    backbone: Any = own.models.backbone
    encode, asked = backbone.encode_text, list[str]()

    def counted(prompt: str) -> torch.Tensor:
        asked.append(prompt)
        return encode(prompt)

    monkeypatch.setattr(backbone, "encode_text", counted)
    own.check_prompt(PROMPT)
    own.run(PROMPT, 3)
    assert asked == [PROMPT]


class InBytes:
    """A decoder whose frames are bytes."""

    def __init__(self, inner: Decoder) -> None:
        self.inner = inner
        self.fps, self.time_stride = inner.fps, inner.time_stride

    def start(self) -> Any:
        return self.inner.start()

    def decode(self, states: Any, latents: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        frames, after = self.inner.decode(states, latents)
        return truncated(frames), after


def test_frames_are_floats_and_pixels_are_what_the_decoder_made(pipeline: Pipeline, tmp_path: Path) -> None:
    models = dataclasses.replace(pipeline.models, decoder=InBytes(pipeline.models.decoder))
    stream = Pipeline(pipeline.config, models).stream(PROMPT, 3, seed=3)
    chunks = list(stream)
    run = stream.finish()
    assert {chunk.pixels.dtype for chunk in chunks} == {run.pixels.dtype} == {torch.uint8}
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks]), run.frames)
    assert torch.equal(truncated(run.frames), run.pixels)
    assert run.frames.dtype is torch.float32
    run.save(tmp_path)
    assert run.summary()["size"] == {"height": 64, "width": 64}
    wide = pipeline.run(PROMPT, 1, seed=3)
    assert wide.pixels is wide.frames
