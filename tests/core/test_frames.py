"""Frames as bytes and as floats."""

from __future__ import annotations

import pytest
import torch

from streamt1.core.frames import floats, picked, shown_to, truncated

ALL = torch.arange(256, dtype=torch.uint8)


def test_every_byte_comes_back_from_its_float() -> None:
    assert torch.equal(truncated(floats(ALL)), ALL)
    assert floats(ALL)[[0, -1]].tolist() == [0, 1]
    assert truncated(torch.tensor([-1.0, 0.0, 0.999, 1.0, 7.0])).tolist() == [0, 0, 254, 255, 255]


def test_what_is_as_it_should_be_is_not_copied() -> None:
    wide = torch.rand(4)
    assert floats(wide) is wide
    assert truncated(ALL) is ALL


def test_a_reward_sees_floats_unless_it_says_that_it_takes_bytes() -> None:
    class Takes:
        takes_bytes = True

    assert shown_to(Takes(), ALL) is ALL
    assert torch.equal(shown_to(object(), ALL), floats(ALL))


@pytest.mark.parametrize("index", [[0], [8, 9, 20], [20, 0, 0, 5], list(range(21)), None])
def test_frames_are_picked_out_of_the_parts_of_clips(index: list[int] | None) -> None:
    clips = torch.rand(2, 21, 3, 4, 4)
    parts = [clip.split([9, 1, 11]) for clip in clips]
    assert torch.equal(picked(parts, index), clips if index is None else clips[:, index])
