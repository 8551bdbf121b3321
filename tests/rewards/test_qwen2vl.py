"""What the two official rewards share, on a tiny random Qwen2-VL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from streamt1.core.errors import CheckpointError, ConfigError

pytest.importorskip("transformers")

from streamt1.rewards.qwen2vl import Qwen2VL, Qwen2VLReward
from tests.rewards.tiny_qwen import VISION_ID, WORDS, official_names, tiny_base, tiny_model

LONG = 3000
"""Tokens; VideoReward's questions about long clips have as many."""


def reward(folder: Path) -> Qwen2VLReward:
    model = tiny_model(folder)
    words: Any = None  # no question is asked, so that it needs no tokenizer
    return Qwen2VLReward(model, nn.Linear(model.hidden, 1), words, "a template", device=torch.device("cpu"))


def hidden(model: Qwen2VL, length: int = LONG) -> Tensor:
    """Last hidden states of a long question about one picture, float32."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VISION_ID, (1, length), generator=draw)
    ids[0, 5:9] = VISION_ID
    patches, grids = torch.randn(16, 1176, generator=draw), torch.tensor([[1, 4, 4]])
    with torch.no_grad():
        return model(ids, torch.ones_like(ids), patches, grids, VISION_ID).float()


def test_four_bits_need_cuda_and_say_what_does_not(tmp_path: Path) -> None:
    four = reward(tmp_path)
    with pytest.raises(ConfigError, match="CUDA only, not on cpu; use reward_bits=8"):
        four.placed(torch.bfloat16, 4, stays=True)
    assert next(four.model.parameters()).dtype is torch.float32, "refused before anything was changed"


def test_a_placed_reward_is_cast_and_takes_no_gradient_and_its_head_stays_wide(tmp_path: Path) -> None:
    placed = reward(tmp_path).placed(torch.bfloat16, 16, stays=False)
    assert next(placed.model.parameters()).dtype is torch.bfloat16
    assert next(placed.head.parameters()).dtype is torch.float32
    assert not any(p.requires_grad for p in (*placed.model.parameters(), *placed.head.parameters()))


def test_rotary_tables_stay_in_float32_through_a_cast(tmp_path: Path) -> None:
    placed = reward(tmp_path).placed(torch.bfloat16, 16, stays=True).model.qwen
    tables: list[Any] = [placed.language_model.rotary_emb.inv_freq, placed.visual.rotary_pos_emb.inv_freq]
    assert [table.dtype for table in tables] == [torch.float32] * 2
    wide: Any = tiny_model(tmp_path).qwen
    assert torch.equal(tables[0], wide.language_model.rotary_emb.inv_freq)


def test_a_bfloat16_reward_follows_float32_at_long_positions(tmp_path: Path) -> None:
    """Within 3% of the size of the hidden states; with tables that were cast along, it is far off."""
    wide = hidden(tiny_model(tmp_path))
    narrow = hidden(reward(tmp_path).placed(torch.bfloat16, 16, stays=True).model)
    cast = tiny_model(tmp_path).to(torch.bfloat16)
    late = slice(LONG - 500, LONG)

    def error(states: Tensor) -> float:
        return float((states - wide)[:, late].square().mean().sqrt() / wide[:, late].square().mean().sqrt())

    assert error(narrow) < 0.03
    assert error(hidden(cast)) > 1.5 * error(narrow)
    right, wrong = (model.qwen.language_model.rotary_emb.inv_freq.float() for model in (tiny_model(tmp_path), cast))
    assert float((LONG * (right - wrong)).abs().max()) > 0.3, "radians; 3.5 at full size"


def test_every_weight_of_a_reward_must_be_there_and_finite(tmp_path: Path) -> None:
    model = Qwen2VL(tiny_base(tmp_path), WORDS)
    whole = official_names(model)
    with pytest.raises(CheckpointError, match=r"1 missing: language_model\.norm\.weight"):
        model.load({key: value for key, value in whole.items() if key != "model.norm.weight"}, "half")
    whole["visual.blocks.0.attn.proj.weight"][0, 0] = torch.nan
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in 1 weights: visual\.blocks\.0\.attn\.proj"):
        model.load(whole, "broken")
