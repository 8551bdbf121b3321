"""What the golden sets of the further families have in common."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from tests.parity.goldens import GoldenSet

TOLERANCE = 1e-4


def family_model(golden: GoldenSet) -> WanModel:
    """The transformer of a set whose manifest tells sizes by the short names that the families share."""
    c = golden.sizes
    config = WanConfig(
        dim=c["dim"],
        ffn_dim=c["ffn"],
        num_layers=c["layers"],
        num_heads=c["heads"],
        in_channels=c["ch"],
        out_channels=c["ch"],
        text_dim=c["text_dim"],
        text_len=c["text_len"],
        freq_dim=c["freq"],
    )
    return golden.loaded(config)


def asked(model: WanModel) -> list[Tensor]:
    """A list that every flow the model predicts is appended to, ``[F, C, H, W]``."""
    calls: list[Tensor] = []
    model.register_forward_hook(lambda module, given, flow: calls.append(flow[0]))
    return calls


def close(ours: Tensor, stored: np.ndarray, name: str) -> None:
    np.testing.assert_allclose(ours.numpy(), stored, rtol=0, atol=TOLERANCE, err_msg=name)
