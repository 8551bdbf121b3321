import json
from pathlib import Path

import pytest

from streamt1.core.errors import TraceError
from streamt1.search.engine import Engine
from streamt1.trace.events import CandidateProposed, RunStarted
from streamt1.trace.store import read_thumbnails, read_trace, write_thumbnails, write_trace
from tests.search.toy import EventRecorder, toy


def test_a_stored_trace_reads_back_as_the_events_that_it_was(tmp_path: Path) -> None:
    recorder = EventRecorder()
    Engine(toy(), watcher=recorder).run("p", 3)
    write_trace(tmp_path / "trace.jsonl", recorder.stamped)
    assert read_trace(tmp_path / "trace.jsonl") == recorder.stamped
    seconds = [stamped.seconds for stamped in recorder.stamped]
    assert seconds == sorted(seconds)
    first = json.loads((tmp_path / "trace.jsonl").read_text().splitlines()[0])
    assert first["event"] == "run_started"
    assert first["config"]["top_k"] == 2


def test_a_trace_from_before_a_field_was_added_still_loads(tmp_path: Path) -> None:
    old = '{"seconds": 0.1, "event": "run_started", "prompt": "p", "seed": 1, "chunks": 2, "frames_per_chunk": 3, '
    (tmp_path / "old.jsonl").write_text(old + '"fps": 16, "config": {"top_k": 2}}\n')
    event = read_trace(tmp_path / "old.jsonl")[0].event
    assert event == RunStarted("p", 1, 2, 3, 16, {"top_k": 2}, time_stride=None)


def test_a_trace_with_a_field_of_a_later_version_still_loads(tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text(
        '{"seconds": 1, "event": "candidate_proposed", "chunk": 0, "candidate": 1, "parent": null, "beam": 0, '
        '"seed": 7, "mood": "calm"}\n'
    )
    assert read_trace(tmp_path / "new.jsonl")[0].event == CandidateProposed(0, 1, None, 0, 7)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "7",
        "[]",
        "null",
        '{"seconds": 1}',
        '{"event": "warned"}',
        '{"seconds": 1, "event": "nothing_known"}',
        '{"seconds": "soon", "event": "warned", "message": "m"}',
        '{"seconds": 1, "event": "warned", "message": 7}',
        '{"seconds": 1, "event": "candidate_pruned", "chunk": true, "candidate": 2}',
        '{"seconds": 1, "event": "chunk_started", "chunk": 1, "beams": [0, "a"], "candidates": 2}',
    ],
)
def test_a_line_that_is_no_event_is_named(line: str, tmp_path: Path) -> None:
    good = '{"seconds": 0, "event": "warned", "message": "m"}'
    (tmp_path / "trace.jsonl").write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(TraceError, match=r"trace\.jsonl, line 2: not an event"):
        read_trace(tmp_path / "trace.jsonl")


def test_a_trace_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "trace.jsonl")
    (tmp_path / "trace.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TraceError, match="not text"):
        read_trace(tmp_path / "trace.jsonl")


def test_thumbnails_read_back_and_are_optional(tmp_path: Path) -> None:
    path = tmp_path / "thumbnails.jsonl"
    assert read_thumbnails(path) == {}
    write_thumbnails(path, {3: b"three", 1: b"\x00\xff"})
    assert read_thumbnails(path) == {3: b"three", 1: b"\x00\xff"}
    path.write_text("{}\n")
    with pytest.raises(TraceError, match=r"thumbnails\.jsonl"):
        read_thumbnails(path)
