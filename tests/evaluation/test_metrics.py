"""Each metric on clips whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamt1.evaluation import metrics


def still(level: int = 100, frames: int = 10) -> Tensor:
    return torch.full((frames, 32, 32, 3), level, dtype=torch.uint8)


def moving(step: int = 1, frames: int = 12) -> Tensor:
    """A red square that slides over a grey ground."""
    clip = still(frames=frames)
    for t in range(frames):
        clip[t, 10:16, step * t : step * t + 6] = torch.tensor([220, 20, 20], dtype=torch.uint8)
    return clip


def blur(clip: Tensor) -> Tensor:
    pixels = clip.permute(0, 3, 1, 2).float()
    return torch.nn.functional.avg_pool2d(pixels, 5, 1, 2, count_include_pad=False).permute(0, 2, 3, 1).byte()


def test_a_still_clip() -> None:
    found = metrics.measure_clip(still())
    assert found == pytest.approx(
        {
            "temporal_flickering": 1, "subject_consistency": 1, "background_consistency": 1, "motion_smoothness": 1,
            "dynamic_degree": 0, "imaging_quality": 0, "drift": 0, "sharpness_drift": 0,
        }, abs=1e-6
    )  # fmt: skip


def test_temporal_flickering_is_the_published_formula() -> None:
    clip = still(frames=3)
    clip[1] += 51
    assert metrics.temporal_flickering(clip) == pytest.approx((255 - 51) / 255)


def test_every_metric_lies_in_its_range_on_noise() -> None:
    noise = torch.randint(0, 256, (9, 20, 24, 3), generator=torch.Generator().manual_seed(0)).byte()
    found = metrics.measure_clip(noise)
    assert all(0 <= found[name] <= 1 for name in found if name != "sharpness_drift")
    assert found["temporal_flickering"] < 0.75
    assert metrics.measure_clip(noise[:1])["drift"] == 0


def test_motion_counts_as_dynamic_and_a_jump_is_not_smooth() -> None:
    assert metrics.dynamic_degree(moving(2)) > metrics.dynamic_degree(moving(1)) > 0
    jumpy = moving(1)[[0, 5, 1, 6, 2, 7, 3, 8]]
    assert metrics.motion_smoothness(jumpy) < metrics.motion_smoothness(moving(1))


def test_blur_lowers_the_imaging_proxy() -> None:
    assert metrics.imaging_quality(blur(moving())) < 0.6 * metrics.imaging_quality(moving())
    half = torch.cat([moving(frames=5), blur(moving(frames=5))])
    assert metrics.sharpness_drift(half) > 0.01


def test_a_subject_that_changes_colour_is_less_consistent_than_one_that_moves() -> None:
    changed = moving()
    red = changed[..., 0] == 220
    red[:6] = False
    changed[red] = torch.tensor([20, 20, 220], dtype=torch.uint8)
    assert metrics.subject_consistency(changed) < metrics.subject_consistency(moving()) - 0.1
    assert metrics.background_consistency(changed) > 0.99


def test_a_background_that_fades_is_less_consistent_and_drifts() -> None:
    faded = moving(frames=12).int()
    faded += torch.linspace(0, 120, 12).int()[:, None, None, None]
    faded = faded.clamp(max=255).byte()
    assert metrics.background_consistency(faded) < metrics.background_consistency(moving()) - 0.05
    assert metrics.drift(faded) > 0.9
    assert metrics.drift(moving()) < 0.05
