"""Pixels and video files."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import av
import pytest
import torch

from streamt1.core.errors import OutputError
from streamt1.media.mp4 import write_video
from streamt1.media.pixels import beside, contact_sheet, enlarge, labelled, to_bytes
from streamt1.media.thumbnails import thumbnail


def test_bytes_are_rounded() -> None:
    frames = torch.tensor([0.0, 0.5, 1.0, 1.4, -1.0, 0.999]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_bytes(frames)[0, 0, :, 0].tolist() == [0, 128, 255, 255, 0, 255]


def test_enlarging_keeps_large_videos_as_they_are() -> None:
    assert enlarge(torch.rand(2, 3, 64, 64), 256).shape == (2, 3, 256, 256)
    assert enlarge(torch.rand(2, 3, 48, 64), 100).shape == (2, 3, 144, 192)
    large = torch.rand(1, 3, 480, 832)
    assert enlarge(large, 256) is large


def test_side_by_side_holds_the_last_frame_of_the_shorter() -> None:
    left = torch.full((2, 4, 4, 3), 10, dtype=torch.uint8)
    right = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 4, 4, 3)
    both = beside(left, right)
    assert both.shape == (5, 4, 16, 3)
    assert both[4, 0, 0, 0] == 10
    assert both[4, 0, 15, 0] == 4


def test_a_label_is_written_above_the_frames() -> None:
    frames = torch.zeros(3, 64, 128, 3, dtype=torch.uint8)
    shown = labelled(frames, "Stream-T1")
    assert shown.shape == (3, 92, 128, 3)
    bar = shown[0, :28]
    assert bar.min() < 80
    assert bar.max() == 255
    assert torch.equal(shown[:, 28:], frames)


def test_contact_sheet() -> None:
    sheet = contact_sheet([("one", torch.zeros(20, 3, 64, 64)), ("two", torch.ones(9, 3, 64, 64))], columns=4)
    assert sheet.size == (4 * 132, 2 * (28 + 132))


def test_the_file_is_what_browsers_play(tmp_path: Path) -> None:
    ramp = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 64, 96, 3) * 12
    write_video(tmp_path / "v.mp4", ramp, fps=16)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 16
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 20
    assert all(abs(int(frame.mean()) - 12 * i) <= 2 for i, frame in enumerate(frames))
    data = (tmp_path / "v.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index stands in front, so that it plays while it loads"


def test_frames_that_cannot_be_encoded_are_refused(tmp_path: Path) -> None:
    for shape, message in (((1, 63, 64, 3), "even sides"), ((0, 64, 64, 3), "0 frames")):
        with pytest.raises(ValueError, match=message):
            write_video(tmp_path / "v.mp4", torch.zeros(shape, dtype=torch.uint8), 16)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]) -> None:
    noise = torch.randint(0, 255, (20, 64, 64, 3), dtype=torch.uint8)
    with full_disk(), pytest.raises(OutputError, match=r"v\.mp4"):
        write_video(tmp_path / "v.mp4", noise, 16)
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_shown_as_they_are() -> None:
    frames = torch.randint(0, 256, (2, 3, 8, 12), dtype=torch.uint8)
    assert torch.equal(to_bytes(frames), frames.permute(0, 2, 3, 1))
    assert enlarge(frames, 8) is frames
    assert torch.equal(enlarge(frames, 16), enlarge(frames.float() / 255, 16))
    wide = frames.float() / 255
    assert thumbnail(frames[0]) == thumbnail(wide[0])
    assert contact_sheet([("one", frames)]).tobytes() == contact_sheet([("one", wide)]).tobytes()


@pytest.mark.parametrize("size", [(284, 520), (284, 528), (96, 64)])
def test_the_same_frames_give_the_same_bytes(size: tuple[int, int], tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (12, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = set()
    for _ in range(4):
        write_video(tmp_path / "v.mp4", frames, 16)
        made.add((tmp_path / "v.mp4").read_bytes())
    assert len(made) == 1
