"""Four bits: no number is off by more than half its group's step, and the rounding of its dtype."""

from __future__ import annotations

import pytest
import torch

from streamt1.core.four_bits import LEVELS, group_of, to_four_bits
from streamt1.core.seeds import generator


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("group", [2, 32, 64])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-3, 50.0), (300.0, -2.0)])
def test_the_bound_that_is_stated_holds(dtype: torch.dtype, group: int, scale: float, offset: float) -> None:
    values = (torch.randn(3, 5, 2, 64, generator=generator(1)) * scale + offset).to(dtype)
    small, lost = to_four_bits(values, group)
    back = small.values(dtype)
    assert (back.dtype, back.shape) == (dtype, values.shape)
    assert (small.codes.shape, small.steps.shape) == ((3, 5, 2, 32), (3, 5, 2, 64 // group))
    error = (back.double() - values.double()).abs()
    half = small.steps.double().repeat_interleave(group, -1) / 2
    rounding = values.double().abs() * torch.finfo(dtype).eps + 1e-6 * (1 + values.double().abs())
    assert (error <= half + rounding).all()
    assert lost.largest == error.max()
    assert lost.relative == pytest.approx((error.square().mean() / values.double().square().mean()).sqrt().item())


def test_a_step_is_hardly_more_than_the_groups_range_needs() -> None:
    values = torch.randn(2, 100, 1, 32, generator=generator(2))
    small, lost = to_four_bits(values, 32)
    low, high = values.aminmax(dim=-1)
    assert (small.steps[..., 0].float() <= (high - low) / LEVELS * 1.008 + low.abs() / 1900).all()
    assert lost.relative < 0.11, "of normal numbers"


def test_equal_numbers_and_levels_stay_what_they_are() -> None:
    constant = torch.full((2, 3, 1, 8), -1.5)
    levels = torch.arange(16.0).expand(2, 3, 1, 16) - 4
    for values in (constant, levels, torch.zeros(1, 1, 1, 2)):
        small, lost = to_four_bits(values.contiguous(), values.shape[-1])
        assert torch.equal(small.values(torch.float32), values)
        assert (lost.largest, lost.relative) == (0, 0)


def test_the_largest_numbers_stay_finite() -> None:
    most = torch.finfo(torch.float16).max
    values = torch.tensor([[most, -most, 0.0, most]], dtype=torch.float16)
    assert to_four_bits(values, 4)[0].values(torch.float16).isfinite().all()


def test_a_group_divides_the_head() -> None:
    assert [group_of(size) for size in (128, 64, 32, 24, 16)] == [32, 32, 32, 24, 16]
    assert group_of(128, 128) == 128
