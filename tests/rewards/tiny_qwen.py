"""A tiny random Qwen2-VL in the official names, built from a configuration alone."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from streamt1.rewards.qwen2vl import Qwen2VL

WORDS, VISION_ID = 40, 30


def tiny_base(folder: Path) -> Path:
    """A folder with ``config.json``, as far as a model without a tokenizer needs it."""
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig

    text = {
        "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 2, "vocab_size": WORDS, "rope_theta": 1e6, "max_position_embeddings": 32768,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    Qwen2VLConfig(text_config=text, vision_config=vision).save_pretrained(folder)
    return folder


def official_names(model: Qwen2VL, seed: int = 0) -> dict[str, Tensor]:
    """Random weights as the rewards' checkpoints name them."""
    draw = torch.Generator().manual_seed(seed)
    named = {}
    for key, value in model.qwen.state_dict().items():
        fresh = 0.15 * torch.randn(value.shape, generator=draw)
        named[key.replace("language_model.", "model.", 1)] = fresh + 1 if "norm" in key and value.ndim == 1 else fresh
    return named


def tiny_model(folder: Path) -> Qwen2VL:
    model = Qwen2VL(tiny_base(folder), WORDS)
    model.load(official_names(model), "tiny")
    return model.eval()
