"""The lean forms in 16 bits against exact arithmetic and against the plain ones; the plain ones where they belong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamt1.backbones.wan import elementwise
from streamt1.backbones.wan.elementwise import add_gated, layer_norm, linear_gelu, modulate, rms_norm
from streamt1.backbones.wan.rope import Rotary, grid_angles

DIM, EPS = 96, 1e-6
X, Y = 3 * torch.randn(2, 2, 2, 35, DIM, generator=torch.Generator().manual_seed(0))
SHIFT, SCALE, GATE = torch.randn(3, 2, 2, 1, DIM, generator=torch.Generator().manual_seed(1))
WEIGHT, BIAS = 1 + 0.1 * torch.randn(2, DIM, generator=torch.Generator().manual_seed(2))
LINEAR = nn.Linear(DIM, 2 * DIM)


def turned(x: Tensor) -> Tensor:
    """Rotary over four heads of tokens ``[2, 70, DIM]``."""
    angles = grid_angles(torch.tensor([7, 8], device=x.device), (5, 7), DIM // 4)
    return Rotary.of(angles).apply(x.flatten(1, 2).unflatten(-1, (4, -1)))


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "modulate": lambda x, y: modulate(x, SHIFT, SCALE),
    "add_gated": lambda x, y: add_gated(x, y, GATE),
    "layer_norm": lambda x, y: layer_norm(x, None, None, EPS),
    "layer_norm, weighted": lambda x, y: layer_norm(x, WEIGHT.to(x.dtype), BIAS.to(x.dtype), EPS),
    "rms_norm": lambda x, y: rms_norm(x, WEIGHT.to(x.dtype), EPS),
    "rotary": lambda x, y: turned(x),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lean_forms_are_as_near_to_exact_arithmetic_as_plain_ones(name: str, dtype: torch.dtype) -> None:
    x, y = X.to(dtype), Y.to(dtype)
    plain = FORMS[name](x, y)
    exact = FORMS[name](x.float(), y.float())
    if "weighted" in name or name == "rms_norm":  # whose weight is rounded before
        exact = rms_norm(x.float(), WEIGHT.to(dtype).float(), EPS) if name == "rms_norm" else layer_norm(
            x.float(), WEIGHT.to(dtype).float(), BIAS.to(dtype).float(), EPS
        )  # fmt: skip
    with torch.no_grad():
        lean = FORMS[name](x, y)
    assert lean.dtype is plain.dtype is dtype
    assert lean.shape == plain.shape

    def error(ours: Tensor) -> float:
        return (ours.float() - exact).square().mean().sqrt().item()

    assert error(lean) <= 1.001 * error(plain)
    roundings = 2 if name == "rms_norm" else 1
    assert torch.allclose(lean.float(), exact, rtol=0.51 * roundings * torch.finfo(dtype).eps, atol=1e-5)


def test_torchs_own_rms_norm_is_ours() -> None:
    """It is taken on CUDA; it saves the rounding before the weight."""
    x, weight = X.bfloat16(), WEIGHT.bfloat16()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        ours = rms_norm(x, weight, EPS)
        patch.setattr(elementwise, "_has_fused_rms_norm", lambda kind: True)
        theirs = rms_norm(x, weight, EPS)
    exact = rms_norm(x.float(), weight.float(), EPS)
    assert theirs.dtype is torch.bfloat16
    assert (theirs - exact).square().mean() <= (ours - exact).square().mean()


def test_float32_takes_the_plain_formulas_bit_for_bit() -> None:
    with torch.no_grad():
        assert torch.equal(modulate(X, SHIFT, SCALE), X * (1 + SCALE) + SHIFT)
        assert torch.equal(add_gated(X, Y, GATE), X + Y * GATE)
        assert torch.equal(layer_norm(X, WEIGHT, BIAS, EPS), F.layer_norm(X, (DIM,), WEIGHT, BIAS, EPS))
        assert torch.equal(rms_norm(X, WEIGHT, EPS), X * torch.rsqrt(X.square().mean(-1, keepdim=True) + EPS) * WEIGHT)
        assert torch.equal(linear_gelu(X, LINEAR), F.gelu(LINEAR(X), approximate="tanh"))


@pytest.mark.parametrize("name", FORMS)
def test_gradients_flow_in_16_bits(name: str) -> None:
    x, y = X.bfloat16().requires_grad_(), Y.bfloat16()
    FORMS[name](x, y).float().square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", FORMS)
def test_autocast_sees_the_plain_formulas(name: str) -> None:
    x, y = X.bfloat16(), Y.bfloat16()
    plain = FORMS[name](x, y)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FORMS[name](x, y), plain)
