"""The archive on disk gives back what the one in memory does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamt1.core.types import Chunk, Route, Score
from streamt1.pipeline.spill import OnDisk
from streamt1.search.archive import Archive, InMemory


def chunk(index: int, dtype: torch.dtype = torch.float32) -> Chunk:
    draw = torch.Generator().manual_seed(index)
    frames = torch.rand(9 if index == 0 else 12, 3, 4, 6, generator=draw)
    latents, noise = torch.randn(2, 3, 2, 2, 2, generator=draw).unbind()
    score = Score(0.1 * index, float("nan"), 1 / 3, {"long/vq": 0.25}) if index else None
    pixels = (frames * 255).to(torch.uint8) if dtype is torch.uint8 else frames
    return Chunk(index, 7 + index, noise, latents, pixels, score, Route.EMA if index > 1 else None)


def assert_same(one: Archive, other: Archive) -> None:
    assert torch.equal(one.shown(), other.shown())
    for left, right in zip(one.chunks(), other.chunks(), strict=True):
        assert (left.index, left.seed, left.route, str(left.score)) == (
            right.index,
            right.seed,
            right.route,
            str(right.score),
        )
        for name in ("noise", "latents", "frames"):
            assert torch.equal(getattr(left, name), getattr(right, name))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_chunks_come_back_as_they_were_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    disk, memory = OnDisk(tmp_path), InMemory()
    for index in range(5):
        for archive in (disk, memory):
            archive.keep(chunk(index, dtype), chunk(index, dtype).frames)
        assert_same(disk, memory)


def test_a_chunk_that_is_kept_again_replaces_those_after_it(tmp_path: Path) -> None:
    disk, memory = OnDisk(tmp_path), InMemory()
    for archive in (disk, memory):
        for index in (0, 1, 2, 3, 1, 2):
            archive.keep(chunk(index), chunk(index).frames)
    assert len(disk.chunks()) == 3
    assert_same(disk, memory)


def test_other_frames_can_be_shown_than_the_rewards_saw(tmp_path: Path) -> None:
    disk = OnDisk(tmp_path, drafted=True)
    shown: list[Tensor] = []
    for index in range(3):
        shown.append(1 - chunk(index).frames)
        disk.keep(chunk(index), shown[-1])
    assert torch.equal(disk.shown(), torch.cat(shown))
    assert torch.equal(disk.chunks()[1].frames, chunk(1).frames)


def test_what_was_mapped_stays_when_the_files_are_deleted(tmp_path: Path) -> None:
    disk = OnDisk(tmp_path)
    disk.keep(chunk(0), chunk(0).frames)
    kept, video = disk.chunks(), disk.shown()
    disk.close()
    for path in tmp_path.iterdir():
        path.unlink()
    assert torch.equal(kept[0].latents, chunk(0).latents)
    assert torch.equal(video, chunk(0).frames)
