"""A run looks whether its disk has room for what is to come."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamt1.core.errors import OutputError, StreamT1Warning
from streamt1.pipeline.disk import Room


def state(chunk: int, chunks: int | None) -> Any:
    return SimpleNamespace(chunk=chunk, chunks=chunks)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def leave(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))

    return leave


def test_it_warns_once_and_stops_before_the_disk_is_full(tmp_path: Path, free: Callable[[int], None]) -> None:
    (tmp_path / "trace").write_bytes(b"x" * 1_000_000)
    room = Room(tmp_path)
    free(9_000_000)
    room.check(state(1, 9))
    room.check(state(2, 9))
    free(5_000_000)
    with pytest.warns(StreamT1Warning, match=r"will need about 6\.0 MB more, and 5\.0 MB are free"):
        room.check(state(3, 9))
    room.check(state(4, 9))
    free(1_500_000)
    with pytest.raises(OutputError, match=r"full: 1\.5 MB are free, and a chunk takes 1\.0 MB"):
        room.check(state(5, 9))


def test_a_video_without_an_end_stops_too(tmp_path: Path, free: Callable[[int], None]) -> None:
    (tmp_path / "trace").write_bytes(b"x" * 1_000_000)
    room = Room(tmp_path)
    free(3_000_000)
    room.check(state(1, None))
    room.check(state(2, None))
    free(1_000_000)
    with pytest.raises(OutputError, match="is full"):
        room.check(state(3, None))


def test_a_disk_without_room_for_the_first_chunks_is_said_before_any_is_made(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(1_000_000)
    Room(tmp_path).begin(state(0, None), 500_000)
    with pytest.raises(OutputError, match="is full"):
        Room(tmp_path).begin(state(0, None), 500_001)
    with pytest.warns(StreamT1Warning, match=r"will need about 1\.2 MB more"):
        Room(tmp_path).begin(state(0, 12), 100_000)
