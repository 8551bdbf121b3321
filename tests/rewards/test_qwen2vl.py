from typing import Any

import pytest
import torch
from torch import nn

from streamt1.core.errors import ConfigError
from streamt1.rewards.qwen2vl import Qwen2VLReward


def reward(device: str) -> Qwen2VLReward:
    """Over a model of one layer; no question is asked, so that it needs no tokenizer."""
    model: Any = nn.Linear(2, 2)
    words: Any = None
    return Qwen2VLReward(model, nn.Linear(2, 1), words, "a template", device=torch.device(device))


def test_four_bits_need_cuda_and_say_what_does_not() -> None:
    four = reward("cpu")
    with pytest.raises(ConfigError, match="CUDA only, not on cpu; use reward_bits=8"):
        four.placed(torch.bfloat16, 4, stays=True)
    assert next(four.model.parameters()).dtype is torch.float32, "refused before anything was changed"


def test_a_placed_reward_is_cast_and_takes_no_gradient_and_its_head_stays_wide() -> None:
    placed = reward("cpu").placed(torch.bfloat16, 16, stays=False)
    assert next(placed.model.parameters()).dtype is torch.bfloat16
    assert next(placed.head.parameters()).dtype is torch.float32
    assert not any(p.requires_grad for p in (*placed.model.parameters(), *placed.head.parameters()))
