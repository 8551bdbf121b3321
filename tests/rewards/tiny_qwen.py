"""Random Qwen2-VL models in the official names, built from a configuration alone, and questions without a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamt1.core.devices import HOST
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.qwen2vl import Qwen2VLReward
from streamt1.rewards.words import Question, Words

WORDS, VISION_ID = 40, 30
MARK_IDS = (31, 32)
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tiny": (
        {
            "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
            "num_hidden_layers": 4, "vocab_size": WORDS, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        },
        {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2},
    ),
    "2B": (
        {
            "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2,
            "num_hidden_layers": 28, "vocab_size": 151936,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
        {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "mlp_ratio": 4},
    ),
    "7B": (
        {
            "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4,
            "num_hidden_layers": 28, "vocab_size": 152064,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
        {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4},
    ),
}  # fmt: skip


class PlainWords(Words):
    """Some opening words, what is seen, ``count`` words, the reward tokens; no tokenizer is asked."""

    def __init__(self, count: int, marks: int = len(MARK_IDS)) -> None:
        self.marks = tuple(f"<{index}>" for index in range(marks))
        self.mark_ids = [MARK_IDS[0] + index for index in range(marks)]
        self.vision_id, self.count = VISION_ID, count

    def ids(self, question: Question) -> list[int]:
        t, h, w = question.grid
        return [1, 2, 3, *[VISION_ID] * (t * h * w // 4), *[5 + i % 20 for i in range(self.count)], *self.mark_ids, 4]

    def _id(self, token: str) -> int:
        return 0


def base_of(folder: Path, size: str = "tiny") -> Path:
    """A folder with ``config.json``, as far as a model without a tokenizer needs it."""
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig

    text, vision = SIZES[size]
    long = {"rope_theta": 1e6, "max_position_embeddings": 32768}
    Qwen2VLConfig(text_config=text | long, vision_config=vision).save_pretrained(folder)
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
    model = Qwen2VL(base_of(folder), WORDS)
    model.load(official_names(model), "tiny")
    return model.eval()


def tiny_reward(folder: Path, words: int = 20, batch: int = 2, outputs: int = 3) -> Qwen2VLReward:
    """In float32 on the host."""
    model = tiny_model(folder)
    head = nn.Linear(model.hidden, outputs)
    nn.init.normal_(head.weight, std=0.3, generator=torch.Generator().manual_seed(2))
    nn.init.zeros_(head.bias)
    return Qwen2VLReward(model, head, PlainWords(words), "a template", batch, HOST).placed(torch.float32, 16, True)


def shown(count: int, frames: int = 1, size: tuple[int, int] = (56, 84), seed: int = 1) -> list[Question]:
    """Questions about random pictures or clips, all of one size."""
    draw = torch.Generator().manual_seed(seed)
    shape = (count, frames, 3, *size)
    return [Question(clip, ()) for clip in torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)]


@torch.no_grad()
def answers(reward: Qwen2VLReward, questions: Sequence[Question]) -> Tensor:
    """``[N, marks, outputs]``"""
    return reward._answers(lambda begin, end: questions[begin:end], len(questions))
