"""A video that grows while it is made: the same as one that is written at the end, and kept when the run is stopped."""

import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamt1.core.errors import OutputError
from streamt1.media.mp4 import write_video
from streamt1.media.pixels import enlarge, to_bytes
from streamt1.pipeline.recording import recording


def chunks() -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.rand(frames, 3, 64, 64, generator=draw) for frames in (9, 12, 12)]


def record(folder: Path, given: Iterable[Tensor], rescued: Callable[[int], None], stop: BaseException) -> None:
    with recording(folder / "v.mp4", 16, folder / "partial.mp4", rescued) as video:
        for index, frames in enumerate(given):
            video.settled(index, frames)
        raise stop


def nobody(frames: int) -> None:
    raise AssertionError("nothing was to be rescued")


def test_it_equals_a_video_that_is_written_at_the_end(tmp_path: Path) -> None:
    partial = tmp_path / "partial.mp4"
    partial.write_bytes(b"of an older run")
    with recording(tmp_path / "grown.mp4", 16, partial, nobody) as video:
        for index, frames in enumerate(chunks()):
            video.settled(index, frames)
        assert not (tmp_path / "grown.mp4").exists()
    write_video(tmp_path / "whole.mp4", to_bytes(enlarge(torch.cat(chunks()), 256)), 16)
    assert (tmp_path / "grown.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"grown.mp4", "whole.mp4"}


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_what_was_final_is_kept_when_it_stops(tmp_path: Path, reason: type[BaseException]) -> None:
    kept: list[int] = []
    with pytest.raises(reason):
        record(tmp_path, chunks()[:2], kept.append, reason())
    write_video(tmp_path / "first.mp4", to_bytes(enlarge(torch.cat(chunks()[:2]), 256)), 16)
    assert kept == [21]
    assert (tmp_path / "partial.mp4").read_bytes() == (tmp_path / "first.mp4").read_bytes()
    assert not (tmp_path / "v.mp4").exists()


def test_nothing_is_left_where_nothing_was_final(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        record(tmp_path, [], nobody, RuntimeError())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_the_run_ends(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    endless = (torch.rand(12, 3, 64, 64) for _ in itertools.count())
    with full_disk(), pytest.raises(OutputError, match=r"v\.mp4"):
        record(tmp_path, endless, nobody, RuntimeError())
    assert list(tmp_path.iterdir()) == []
