"""What the two official rewards share, on a tiny random Qwen2-VL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamt1.core.errors import CheckpointError, ConfigError

pytest.importorskip("transformers")

from streamt1.core.devices import HOST
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.qwen2vl import Qwen2VLReward
from tests.rewards.tiny_qwen import WORDS, PlainWords, answers, base_of, official_names, shown, tiny_reward


def test_four_bits_need_cuda_and_say_what_does_not(tmp_path: Path) -> None:
    four = tiny_reward(tmp_path)
    with pytest.raises(ConfigError, match="CUDA only, not on cpu; use reward_bits=8"):
        four.placed(torch.bfloat16, 4, stays=True)
    assert next(four.model.parameters()).dtype is torch.float32, "refused before anything was changed"


def test_a_placed_reward_is_cast_and_takes_no_gradient_and_its_head_stays_wide(tmp_path: Path) -> None:
    placed = tiny_reward(tmp_path).placed(torch.bfloat16, 16, stays=False)
    assert next(placed.model.parameters()).dtype is torch.bfloat16
    assert next(placed.head.parameters()).dtype is torch.float32
    assert not any(p.requires_grad for p in (*placed.model.parameters(), *placed.head.parameters()))


def test_every_weight_of_a_reward_must_be_there_and_finite(tmp_path: Path) -> None:
    model = Qwen2VL(base_of(tmp_path), WORDS)
    whole = official_names(model)
    with pytest.raises(CheckpointError, match=r"1 missing: language_model\.norm\.weight"):
        model.load({key: value for key, value in whole.items() if key != "model.norm.weight"}, "half")
    whole["visual.blocks.0.attn.proj.weight"][0, 0] = torch.nan
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in 1 weights: visual\.blocks\.0\.attn\.proj"):
        model.load(whole, "broken")


@pytest.mark.parametrize("row", [[1, 31, 4], [1, 31, 32, 31, 4]])
def test_a_question_must_hold_each_reward_token_once(row: list[int]) -> None:
    words = PlainWords(20)
    assert words.places([1, 32, 2, 31]) == [3, 1]
    with pytest.raises(ValueError, match="must hold each of <0>, <1> once"):
        words.places(row)


def test_questions_that_are_padded_are_answered_as_alone(tmp_path: Path) -> None:
    """Nothing real looks at what is on its right, so that there is no mask."""
    reward = tiny_reward(tmp_path, batch=4)
    questions = [*shown(1), *shown(1, size=(28, 56)), *shown(2, frames=4, seed=3)]
    alone = torch.cat([answers(reward, [question]) for question in questions])
    assert torch.allclose(answers(reward, questions), alone, atol=1e-5)


def layers_of(reward: Qwen2VLReward) -> list[int]:
    return sorted(reward.model.streamed)


@pytest.mark.parametrize(("stay", "streamed"), [(0, [0, 1, 2, 3]), (1, [0, 1, 2]), (2, [0, 2]), (3, [0]), (4, [])])
def test_layers_that_stay_are_spread(stay: int, streamed: list[int], tmp_path: Path) -> None:
    reward = tiny_reward(tmp_path)
    reward.stream(resident_layers=stay)
    assert layers_of(reward) == streamed


def test_what_is_at_home_where_it_works_does_not_stream(tmp_path: Path) -> None:
    assert layers_of(tiny_reward(tmp_path).placed(torch.float32, 16, stays=False)) == []
    assert tiny_reward(tmp_path).device == HOST
