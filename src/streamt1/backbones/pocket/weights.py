"""Loading the pocket transformer and its text encoder from the package."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.pocket.text import TextConfig, TextEncoder
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.core.weights import load_bundled, load_strictly


def load_pocket(name: str = "pocket_dit", device: str | torch.device = "cpu") -> tuple[WanModel, TextEncoder]:
    """Transformer and text encoder of a bundled checkpoint, `pocket_dit` or `pocket_dit_base`; float32, for evaluation.

    Raises CheckpointError when the file is missing, damaged, or does not fit.
    """
    weights, config = load_bundled(name)
    model, text = build_pocket(config)
    load_strictly(model, _part(weights, "dit."), name)
    load_strictly(text, _part(weights, "text."), name)
    return model.to(device).eval().requires_grad_(False), text.to(device).eval().requires_grad_(False)


def build_pocket(config: dict[str, Any]) -> tuple[WanModel, TextEncoder]:
    """Untrained modules from the configuration that a weights file carries (`model` and `text`)."""
    sizes = dict(config["model"], patch_size=tuple(config["model"]["patch_size"]))
    return WanModel(WanConfig(**sizes)), TextEncoder(TextConfig(**config["text"]))


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}
