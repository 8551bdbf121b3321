"""The same numbers on a GPU; skipped where there is none."""

import pytest
import torch
from torch import nn

from streamt1.backbones.wan.attention import naive_prefix_attention, shared_prefix_attention
from streamt1.backbones.wan.elementwise import linear_gelu
from streamt1.backbones.wan.kernels import by_products, fastest
from tests.backbones import test_wan_elementwise
from tests.backbones.test_wan import denoised, rolled, tiny_backbone
from tests.backbones.test_wan_elementwise import FORMS, X, Y

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_shared_prefix_attention(dtype: torch.dtype, tolerance: float) -> None:
    q, k, v = torch.randn(3, 4, 37, 2, 64, device="cuda", dtype=dtype)
    prefix_k, prefix_v = torch.randn(2, 1, 101, 2, 64, device="cuda", dtype=dtype)
    fast = shared_prefix_attention(q, k, v, prefix_k, prefix_v)
    slow = naive_prefix_attention(q.double(), k.double(), v.double(), prefix_k.double(), prefix_v.double())
    assert (fast.double() - slow).abs().max() < tolerance


@pytest.mark.parametrize("head_dim", [64, 128])
def test_a_fused_kernel_is_found(head_dim: int) -> None:
    assert fastest(torch.device("cuda", torch.cuda.current_device()), torch.bfloat16, head_dim) is not by_products


@torch.no_grad()
@pytest.mark.parametrize("name", FORMS)
def test_lean_forms(name: str) -> None:
    x, y = X.bfloat16(), Y.bfloat16()
    here = FORMS[name](x, y)
    with pytest.MonkeyPatch.context() as patch:
        for constant in ("SHIFT", "SCALE", "GATE", "WEIGHT", "BIAS"):
            patch.setattr(test_wan_elementwise, constant, getattr(test_wan_elementwise, constant).cuda())
        there = FORMS[name](x.cuda(), y.cuda())
    assert torch.allclose(there.cpu().float(), here.float(), rtol=1.6e-2, atol=1e-3)


@torch.no_grad()
def test_the_epilogue_of_a_product_is_gelu() -> None:
    linear = nn.Linear(64, 128).bfloat16()
    x = torch.randn(3, 40, 64).bfloat16()
    here = linear_gelu(x, linear)
    assert torch.allclose(linear_gelu(x.cuda(), linear.cuda()).cpu().float(), here.float(), rtol=1.6e-2, atol=2e-3)


def test_a_rollout() -> None:
    cpu, gpu = tiny_backbone(), tiny_backbone()
    gpu.model.cuda()
    text = gpu.encode_text
    gpu.encode_text = lambda prompt: text(prompt).cuda()
    ours = denoised(gpu, [rolled(gpu, 5)] * 2, [1, 2])
    assert ours.device.type == "cuda"
    assert torch.allclose(ours.cpu(), denoised(cpu, [rolled(cpu, 5)] * 2, [1, 2]), atol=1e-3)
