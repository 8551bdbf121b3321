"""Frames leave when every beam shares them, or when a fixed lag decides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.search.choose import Result
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from streamt1.search.settle import shared_chunks, within_lag
from streamt1.trace.events import CandidateProposed, ChunkSettled, ChunkStarted, Event
from tests.search.toy import Seen, toy


def test_shared_chunks() -> None:
    assert shared_chunks([(1, 4, 9), (1, 4, 8)]) == 2
    assert shared_chunks([(1, 4, 9)]) == 3
    assert shared_chunks([(1,), (2,)]) == 0


def test_within_lag() -> None:
    lineages = [(0, 3, 7), (0, 2, 5), (0, 3, 6)]
    assert within_lag(lineages, 0) == [0]
    assert within_lag(lineages, 1) == [0, 2]
    assert within_lag(lineages, 2) == [0, 1, 2]
    assert within_lag(lineages, 5) == [0, 1, 2]


def search(lag: int | None, chunks: int = 10) -> tuple[Result, list[Event], list[tuple[int, Tensor]]]:
    seen = Seen()
    result = Engine(toy(), SearchConfig(beam_size=2, top_k=4, lag=lag), seen).run("", chunks, seed=3)
    return result, seen.events, seen.chunks


@pytest.mark.parametrize("lag", [None, 0, 1, 3])
def test_what_has_left_is_the_answer_chunk_by_chunk(lag: int | None) -> None:
    result, events, left = search(lag)
    assert [chunk for chunk, _ in left] == list(range(10))
    assert torch.equal(torch.cat([frames for _, frames in left]), result.frames)
    settled = [event.candidate for event in events if isinstance(event, ChunkSettled)]
    assert tuple(settled) == result.beam.lineage


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_chunk_leaves_at_most_lag_chunks_late_and_the_width_stays(lag: int) -> None:
    _, events, _ = search(lag)
    started = -1
    for event in events:
        if isinstance(event, ChunkStarted):
            started = event.chunk
        elif isinstance(event, ChunkSettled):
            assert started - event.chunk <= lag
    if lag == 0:
        proposed = [event.chunk for event in events if isinstance(event, CandidateProposed)]
        assert all(proposed.count(chunk) == 8 for chunk in range(10))


def test_a_negative_lag_is_refused() -> None:
    with pytest.raises(ConfigError, match="lag=-1"):
        SearchConfig(lag=-1)
