"""The same numbers on a GPU; skipped where there is none."""

import pytest
import torch

from streamt1.backbones.wan.attention import naive_prefix_attention, shared_prefix_attention
from tests.backbones.test_wan import denoised, rolled, tiny_backbone

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_shared_prefix_attention(dtype: torch.dtype, tolerance: float) -> None:
    q, k, v = torch.randn(3, 4, 37, 2, 64, device="cuda", dtype=dtype)
    prefix_k, prefix_v = torch.randn(2, 1, 101, 2, 64, device="cuda", dtype=dtype)
    fast = shared_prefix_attention(q, k, v, prefix_k, prefix_v)
    slow = naive_prefix_attention(q.double(), k.double(), v.double(), prefix_k.double(), prefix_v.double())
    assert (fast.double() - slow).abs().max() < tolerance


def test_a_rollout() -> None:
    cpu, gpu = tiny_backbone(), tiny_backbone()
    gpu.model.cuda()
    text = gpu.encode_text
    gpu.encode_text = lambda prompt: text(prompt).cuda()
    ours = denoised(gpu, [rolled(gpu, 5)] * 2, [1, 2])
    assert ours.device.type == "cuda"
    assert torch.allclose(ours.cpu(), denoised(cpu, [rolled(cpu, 5)] * 2, [1, 2]), atol=1e-3)
