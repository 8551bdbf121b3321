"""A file that is left at any byte and gone on with is the file that was never left."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from streamt1.core.errors import OutputError
from streamt1.media.boxes import boxes_in
from streamt1.media.growing import GrowingVideo

LENGTHS = (9, 12, 1, 12)
FPS = 16


def chunk(index: int, length: int, side: int = 32) -> Tensor:
    draw = torch.Generator().manual_seed(index)
    coarse = torch.rand(length, 3, 4, 6, generator=draw)
    pixels = torch.nn.functional.interpolate(coarse, (side, 48), mode="bilinear") * 255
    return pixels.byte().permute(0, 2, 3, 1).contiguous()


CHUNKS = [chunk(index, length) for index, length in enumerate(LENGTHS)]


def write(path: Path, chunks: int = 0) -> GrowingVideo:
    video = GrowingVideo(path, FPS, chunks)
    for frames in CHUNKS[video.chunks :]:
        video.add(frames)
    video.close()
    return video


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[int]]:
    """The file, the finished file, and where the header and each fragment end."""
    path = tmp_path_factory.mktemp("whole") / "v.mp4"
    video = GrowingVideo(path, FPS)
    ends = []
    for frames in CHUNKS:
        video.add(frames)
        ends.append(path.stat().st_size)
    video.close()
    video.finish(path.with_name("finished.mp4"))
    content = path.read_bytes()
    header = sum(len(box) for _, box in list(boxes_in(content))[:2])
    return content, path.with_name("finished.mp4").read_bytes(), [header, *ends]


class Pipe:
    """Bytes that come one after another, as from a network."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


def decoded(content: bytes | Pipe) -> list[Tensor]:
    """Frames up to where the content ends."""
    with av.open(io.BytesIO(content) if isinstance(content, bytes) else content) as container:
        frames = []
        try:
            for frame in container.decode(video=0):
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
        except av.FFmpegError:
            return frames
    return frames


def offsets(ends: list[int]) -> list[int]:
    """All around the ends of boxes, and some between."""
    near = {end + step for end in ends for step in (-1, 0, 1, 4, 8, 100)}
    spread = {round(ends[-1] * share / 23) for share in range(24)}
    return sorted(at for at in near | spread | {1} if 0 <= at <= ends[-1])


def test_a_file_left_at_any_byte_is_gone_on_with(whole: tuple[bytes, bytes, list[int]], tmp_path: Path) -> None:
    content, finished, ends = whole
    path = tmp_path / "v.mp4"
    for at in offsets(ends):
        path.write_bytes(content[:at])
        left = sum(at >= end for end in ends[1:])
        video = GrowingVideo(path, FPS, len(CHUNKS))
        assert (video.chunks, video.frames) == (left, sum(LENGTHS[:left])), at
        video.close()
        assert write(path, len(CHUNKS)).frames == sum(LENGTHS)
        assert path.read_bytes() == content, at
    write(path, len(CHUNKS)).finish(tmp_path / "finished.mp4")
    assert (tmp_path / "finished.mp4").read_bytes() == finished


@pytest.mark.parametrize("kept", range(len(LENGTHS) + 1))
def test_surplus_chunks_are_cut_off(whole: tuple[bytes, bytes, list[int]], tmp_path: Path, kept: int) -> None:
    content, finished, ends = whole
    path = tmp_path / "v.mp4"
    path.write_bytes(content + b"rubbish")
    video = GrowingVideo(path, FPS, kept)
    assert (video.chunks, video.frames) == (kept, sum(LENGTHS[:kept]))
    assert path.read_bytes() == content[: ends[kept] if kept else 0]
    for frames in CHUNKS[kept:]:
        video.add(frames)
    assert path.read_bytes() == content
    video.finish(tmp_path / "finished.mp4")
    video.close()
    assert (tmp_path / "finished.mp4").read_bytes() == finished


def test_every_beginning_plays_as_it_comes(whole: tuple[bytes, bytes, list[int]]) -> None:
    content, _, ends = whole
    full = decoded(content)
    assert len(full) == sum(LENGTHS)
    for at in offsets(ends):
        if at >= ends[1]:
            count = sum(LENGTHS[: sum(at >= end for end in ends[1:])])
            frames = decoded(Pipe(content[:at]))
            assert len(frames) >= count, at
            assert all(torch.equal(frame, other) for frame, other in zip(frames[:count], full)), at


def test_the_file_plays_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes stop after any number of bytes, as those of a process that is killed."""
    path = tmp_path / "v.mp4"
    video = GrowingVideo(path, FPS)
    video.add(CHUNKS[0])
    before, written = path.read_bytes(), []
    write = GrowingVideo._write
    monkeypatch.setattr(GrowingVideo, "_write", lambda self, *what: (written.append(what), write(self, *what)))
    video.add(CHUNKS[1])
    video.close()
    (begin, content), (name, _) = written
    assert begin == len(before) < name
    for at in sorted({*range(170), *range(170, len(content), 97), len(content)}):
        assert len(decoded(before + content[:at])) == LENGTHS[0], at
        path.write_bytes(before + content[:at])
        assert GrowingVideo(path, FPS, 9).chunks == 1, at
    at = name - begin
    assert len(decoded(before + content[:at] + b"moof" + content[at + 4 :])) == sum(LENGTHS[:2])


def test_the_finished_file_has_its_index_in_front_and_the_same_frames(
    whole: tuple[bytes, bytes, list[int]],
) -> None:
    content, finished, _ = whole
    assert [name for name, _ in boxes_in(finished)] == ["ftyp", "moov", "free", "mdat"]
    with av.open(io.BytesIO(finished)) as container:
        times = [frame.time for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == FPS
    assert times == [index / FPS for index in range(sum(LENGTHS))]
    assert all(torch.equal(one, other) for one, other in zip(decoded(finished), decoded(content), strict=True))


def test_a_chunk_with_a_cut_is_one_fragment(tmp_path: Path) -> None:
    video = GrowingVideo(tmp_path / "v.mp4", FPS)
    video.add(torch.cat([torch.full((20, 32, 48, 3), level, dtype=torch.uint8) for level in (3, 250, 90)]))
    video.close()
    assert [name for name, _ in boxes_in((tmp_path / "v.mp4").read_bytes())] == ["ftyp", "moov", "moof", "mdat"]


@pytest.mark.parametrize("damage", [b"", b"not a video at all", bytes(4000), b"\0\0\0\x08ftyp\0\0\0\x01moov"])
def test_a_file_that_is_no_video_is_begun_anew(
    whole: tuple[bytes, bytes, list[int]], tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / "v.mp4").write_bytes(damage)
    video = write(tmp_path / "v.mp4", 3)
    assert video.chunks == len(CHUNKS)
    assert (tmp_path / "v.mp4").read_bytes() == whole[0]


def test_fragments_that_do_not_follow_one_another_are_cut_off(
    whole: tuple[bytes, bytes, list[int]], tmp_path: Path
) -> None:
    content, _, ends = whole
    (tmp_path / "v.mp4").write_bytes(content[: ends[1]] + content[ends[2] :])
    video = GrowingVideo(tmp_path / "v.mp4", FPS, 9)
    video.close()
    assert video.chunks == 1
    other_rate = GrowingVideo(tmp_path / "v.mp4", 24, 9)
    with pytest.raises(OutputError, match="another size or rate"):
        other_rate.add(CHUNKS[0])
    other_rate.close()


def test_what_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    video = GrowingVideo(tmp_path / "v.mp4", FPS)
    with pytest.raises(ValueError, match="no frames"):
        video.finish(tmp_path / "finished.mp4")
    video.add(CHUNKS[0])
    before = (tmp_path / "v.mp4").read_bytes()
    for shape in ((2, 33, 48, 3), (0, 32, 48, 3)):
        with pytest.raises(ValueError, match="cannot encode"):
            video.add(torch.zeros(shape, dtype=torch.uint8))
    with pytest.raises(OutputError, match=r"v\.mp4.*another size"):
        video.add(chunk(1, 12, side=64))
    assert (tmp_path / "v.mp4").read_bytes() == before
    video.add(CHUNKS[1])
    video.close()
    assert (video.chunks, len(decoded((tmp_path / "v.mp4").read_bytes()))) == (2, 21)


def test_a_full_disk_is_one_error_and_work_goes_on_after_it(
    whole: tuple[bytes, bytes, list[int]], tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    video = GrowingVideo(tmp_path / "v.mp4", FPS)
    with full_disk(), pytest.raises(OutputError, match=r"cannot write .*v\.mp4"):
        video.add(CHUNKS[0])
    assert (tmp_path / "v.mp4").read_bytes() == b""
    for frames in CHUNKS:
        video.add(frames)
    with full_disk(), pytest.raises(OutputError, match=r"finished\.mp4"):
        video.finish(tmp_path / "finished.mp4")
    video.close()
    assert [file.name for file in tmp_path.iterdir()] == ["v.mp4"]
    assert (tmp_path / "v.mp4").read_bytes() == whole[0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"v\.mp4"):
        GrowingVideo(tmp_path / "file" / "v.mp4", FPS)
