"""The pocket model as a backbone: the same class as the large ones, over its own weights and text encoder."""

from __future__ import annotations

import torch

from streamt1.backbones.pocket.weights import load_pocket
from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.memory import MemoryConfig

LATENT_SIZE = (8, 8)
"""Rows and columns of a latent frame: 64x64 pixels."""


class PocketBackbone(WanBackbone):
    """Satisfies ``core.protocols.Backbone``.

    Args:
        weights: name of a bundled checkpoint, ``pocket_dit`` or ``pocket_dit_base``.
        memory: window and sink sizes in latent frames.
        schedule: denoising steps.
        device, dtype: where and in what the transformer runs; the text encoder stays in float32.
    """

    def __init__(
        self,
        weights: str = "pocket_dit",
        memory: MemoryConfig = MemoryConfig(),
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        schedule: Schedule = Schedule(),
    ) -> None:
        model, text = load_pocket(weights, device)
        super().__init__(model.to(dtype), text.encode, LATENT_SIZE, memory, schedule)
