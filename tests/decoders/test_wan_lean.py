"""The decoder that copies less computes what diffusers' does, on tiny random ones of both VAEs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from streamt1.decoders import wan_lean
from streamt1.decoders.wan_lean import make_lean

diffusers = pytest.importorskip("diffusers")

TINY: dict[str, dict[str, Any]] = {
    "2.1": {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1},
    "2.2": {
        "base_dim": 4, "decoder_base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1,
        "is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16,
    },
}  # fmt: skip


def decoders(kind: str) -> tuple[Any, Any]:
    """Diffusers' own, and the lean one of the same weights; norms with weights of their own."""
    torch.manual_seed(0)
    plain = diffusers.AutoencoderKLWan(**TINY[kind]).eval().requires_grad_(False).decoder
    for name, weight in plain.named_parameters():
        if name.endswith("gamma"):
            weight.uniform_(0.5, 2)
    lean = copy.deepcopy(plain)
    make_lean(lean)
    return plain, lean


def decoded(decoder: Any, z: Tensor, past: list[Any]) -> Tensor:
    """Latent frames one after another; changes what the convolutions remember."""
    frames = [
        decoder(z[:, :, at : at + 1], feat_cache=past, feat_idx=[0], first_chunk=past[0] is None)
        for at in range(z.shape[2])
    ]
    return torch.cat(frames, dim=2)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", TINY)
def test_it_decodes_what_diffusers_decodes(kind: str, batch: int) -> None:
    plain, lean = decoders(kind)
    z = torch.randn(batch, 4, 5, 6, 4)
    past: list[list[Any]] = [[None] * 64, [None] * 64]
    for part in z.split(3, dim=2):
        theirs, ours = decoded(plain, part, past[0]), decoded(lean, part, past[1])
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    for one, other in zip(*past):
        if isinstance(one, Tensor):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
        else:
            assert one == other


def test_a_feature_of_zeros_stays_zero() -> None:
    assert not wan_lean._normed(torch.ones(4, 1, 1, 1), True, torch.zeros(1, 4, 1, 2, 2)).any()


def test_channels_come_out_last() -> None:
    out = wan_lean._normed(torch.ones(6, 1, 1, 1), True, torch.randn(2, 6, 3, 4, 5))
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
