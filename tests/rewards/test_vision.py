"""Pixels as the rewards read them, each against its plain definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamt1.core.frames import truncated
from streamt1.rewards.vision import (
    MEAN,
    STD,
    grid_of,
    patches_of,
    resized_clip,
    resized_picture,
    sampled_frames,
)


def plain_patches(frames: Tensor) -> Tensor:
    """One question's, value by value as the official processor orders them: ``[T, 3, H, W]``, T even."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    x = (frames.float() / 255 - mean) / std
    rows, columns = x.shape[2] // 14, x.shape[3] // 14
    found = []
    for t in range(0, len(x), 2):
        for top in range(0, rows, 2):
            for left in range(0, columns, 2):
                for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                    part = x[t : t + 2, :, row * 14 : row * 14 + 14, column * 14 : column * 14 + 14]
                    found.append(part.transpose(0, 1).reshape(-1))
    return torch.stack(found)


@pytest.mark.parametrize("frames", [1, 4])
def test_patches_of_all_bytes(frames: int) -> None:
    shown = torch.arange(3 * frames * 56 * 84).view(1, frames, 3, 56, 84).remainder(256).to(torch.uint8)
    doubled = shown[0].repeat(2, 1, 1, 1) if frames == 1 else shown[0]
    assert torch.equal(patches_of(shown, torch.float32), plain_patches(doubled))
    assert torch.equal(patches_of(shown, torch.bfloat16), plain_patches(doubled).bfloat16())
    assert grid_of(shown[0]) == (max(1, frames // 2), 4, 6)


def test_questions_follow_one_another() -> None:
    shown = torch.randint(0, 256, (3, 2, 3, 28, 56), dtype=torch.uint8)
    assert torch.equal(patches_of(shown, torch.float32), torch.cat([plain_patches(frames) for frames in shown]))


def test_bytes_stay_and_fractions_are_truncated() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert truncated(levels) is levels
    assert torch.equal(truncated((levels.float() + 0.25) / 255), levels)
    assert truncated(torch.tensor([-1.0, 2.0])).tolist() == [0, 255]


def test_resized_frames_are_bytes_of_sides_in_multiples_of_28() -> None:
    picture = resized_picture(torch.full((3, 480, 832), 200, dtype=torch.uint8), 448 * 448)
    clip = resized_clip(torch.full((4, 3, 480, 832), 200, dtype=torch.uint8), 448 * 224, 448 * 448)
    assert picture.shape == (1, 3, 336, 588)
    assert clip.shape == (4, 3, 336, 588)
    assert set(picture.unique().tolist()) == set(clip.unique().tolist()) == {200}


def test_sampled_frames_are_those_of_linspace() -> None:
    for total in (*range(5, 400, 7), 1000, 2881, 14400):
        for rate in (2.0, 3.7):
            chosen = sampled_frames(total, 16, rate)
            assert chosen == torch.linspace(0, total - 1, len(chosen)).round().long().tolist()
