"""Golden sets of the further families: a model, its weights and what its rollouts stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from tests.parity.goldens import GoldenSet, golden_sets

TOLERANCE = 1e-4


def family_sets(family: str) -> list[Any]:
    """Folders of a family's sets; one parameter that skips, with the reason, where there are none."""
    missing = pytest.mark.skip(reason=f"no golden numbers of {family}: point STREAMT1_GOLDENS to them")
    return golden_sets(family) or [pytest.param(Path(family), marks=missing)]


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
    model = WanModel(config).eval()
    weights = golden.arrays("weights.npz")
    model.load_state_dict({name.removeprefix("model."): torch.from_numpy(w) for name, w in weights.items()})
    return model


def asked(model: WanModel) -> list[Tensor]:
    """A list that every flow the model predicts is appended to, ``[F, C, H, W]``."""
    calls: list[Tensor] = []
    model.register_forward_hook(lambda module, given, flow: calls.append(flow[0]))
    return calls


def close(ours: Tensor, stored: np.ndarray, name: str) -> None:
    np.testing.assert_allclose(ours.numpy(), stored, rtol=0, atol=TOLERANCE, err_msg=name)
