"""What is measured: pocket, and a random causal Wan transformer of the size that the official code was measured at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from streamt1.backbones.pocket.weights import load_pocket
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.config.load import load_config
from streamt1.core.errors import UnknownNameError
from streamt1.core.protocols import Models
from streamt1.decoders.pocket_vae import PocketDecoder, PocketVAE, PocketVAEConfig
from streamt1.families.build import build
from streamt1.memory import MemoryConfig
from streamt1.search.config import SearchConfig

PROMPT = "a red circle bouncing on a navy striped background"
RANDOM = WanConfig(
    dim=384, ffn_dim=1536, num_layers=8, num_heads=6, in_channels=8, out_channels=8, patch_size=(1, 1, 1), text_dim=128,
    text_len=16,
)  # fmt: skip
"""64 tokens a latent frame on pocket's latents."""
WIDE = PocketVAEConfig(fine=432, coarse=648)
"""A decoder that takes, for one chunk, .29 of the seconds of that transformer's five passes over it. At full size Wan's
VAE makes 41 TFLOP where LongLive's five passes make 141 (window of 12 latent frames); in the official code's profile
the share is .30."""


@dataclass(frozen=True)
class Subject:
    """Models to search over, and at which settings.

    Attributes:
        models: loaded.
        search: settings; a benchmark sets the width.
    """

    name: str
    models: Models
    search: SearchConfig


def pocket(threads: int = 1) -> Subject:
    """The bundled model with its own preset."""
    torch.set_num_threads(threads)
    config = load_config("pocket")
    return Subject("pocket", build(config), config.search)


def random_model(threads: int = 2) -> Subject:
    """A random transformer of width 384 and 8 layers, a random decoder, pocket's text encoder and rewards.

    It is searched with the paper's settings, a reward window of ten chunks among them. Like Wan's VAE at full size, the
    decoder takes one candidate at a time.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    models = build(load_config("pocket"))
    _, text = load_pocket()
    model = WanModel(RANDOM).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("modulation"):  # small steps, so that random latents stay within what the decoder knows
            parameter.mul_(0.1)

    def encode(prompt: str) -> Tensor:
        return text.encode(prompt)

    backbone, decoder = WanBackbone(model, encode, (8, 8), MemoryConfig()), PocketDecoder(PocketVAE(WIDE), batch=1)
    return Subject("random 384x8", Models(backbone, decoder, models.frame_reward, models.clip_reward), SearchConfig())


SUBJECTS = {"pocket": pocket, "random": random_model}


def subject(name: str) -> Subject:
    """Loads a subject by its name. Raises ``UnknownNameError``."""
    if name not in SUBJECTS:
        raise UnknownNameError("subject", name, SUBJECTS)
    return SUBJECTS[name]()
