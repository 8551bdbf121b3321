"""What is computed: against transformers' own forward, and in bfloat16 against float32 at long positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

from streamt1.core.devices import HOST, Halving
from streamt1.core.errors import CheckpointError
from streamt1.rewards.network import Asked, Qwen2VL
from streamt1.rewards.qwen2vl import Qwen2VLReward
from streamt1.rewards.vision import patches_of
from tests.rewards.tiny_qwen import WORDS, PlainWords, answers, base_of, official_names, shown, tiny_model, tiny_reward

LONG = {"frames": 14, "size": (560, 588)}
"""A clip of 2940 vision tokens, as many as VideoReward's questions about long clips have."""
TOLERANCE = 0.03
"""Of scores in bfloat16, as a share of the spread of those in float32. Some forty roundings of 2**-9 on the way, ten a
layer, add up to 0.012 at random; layers that look sharply double it (0.013 to 0.026 over five clips; with tables in
bfloat16 0.084 to 0.184)."""


def slow_twin(folder: Path, asked: Asked, patches: Tensor) -> Tensor:
    """All hidden states by transformers' own forward, with words and what is seen put together as its models do."""
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

    config = Qwen2VLConfig.from_pretrained(str(folder))
    config._attn_implementation = "sdpa"
    twin: Any = Qwen2VLModel(config).eval()
    ours = tiny_model(folder).qwen.state_dict()
    assert not twin.load_state_dict(ours, strict=False).missing_keys
    ids = torch.tensor(asked.rows)
    words = twin.language_model.embed_tokens(ids)
    seen = twin.visual(patches, grid_thw=torch.tensor(asked.grids)).pooler_output
    embeds = words.masked_scatter((ids == asked.vision_id)[..., None], seen)
    positions = torch.arange(ids.shape[1]).expand(3, *ids.shape)
    return twin.language_model(inputs_embeds=embeds, position_ids=positions, use_cache=False).last_hidden_state


@pytest.mark.parametrize(("frames", "size"), [(1, (56, 84)), (6, (84, 56))], ids=["pictures", "clips"])
def test_states_are_those_of_transformers_to_the_bit(frames: int, size: tuple[int, int], tmp_path: Path) -> None:
    model, words, questions = tiny_model(tmp_path), PlainWords(20), shown(3, frames, size)
    rows, grids = words.padded(questions), [question.grid for question in questions]
    patches = torch.cat([patches_of(question.frames[None], torch.float32) for question in questions])
    each = len(patches) // 3
    places = [list(range(len(rows[0])))] * 3
    asked = Asked(rows, words.vision_id, grids, lambda begin, end: patches[begin * each : end * each], places)
    with torch.no_grad():
        expected = slow_twin(tmp_path, asked, patches)
        assert torch.equal(model(asked, HOST, Halving()), expected)
        assert torch.allclose(model(asked, HOST, Halving(1)), expected, atol=1e-5)


def test_as_many_places_as_vision_tokens(tmp_path: Path) -> None:
    patches = torch.zeros(16, 1176)
    asked = Asked([[1, 30, 30, 30, 2]], 30, [(1, 4, 4)], lambda *_: patches, [[4]])
    with pytest.raises(ValueError, match="3 places for 4 vision tokens"):
        tiny_model(tmp_path)(asked, HOST, Halving())


def test_another_kind_of_rotary_embedding_is_refused(tmp_path: Path) -> None:
    file = base_of(tmp_path) / "config.json"
    text = file.read_text()
    assert '"rope_type": "default"' in text
    file.write_text(text.replace('"rope_type": "default"', '"rope_type": "linear", "factor": 2.0'))
    with pytest.raises(CheckpointError, match="kind linear: it is not Qwen2-VL's"):
        Qwen2VL(tmp_path, WORDS)


def far(folder: Path) -> Qwen2VLReward:
    """Whose layers look far and sharply, so that its scores hang on where things are."""
    reward = tiny_reward(folder, outputs=32)
    named = official_names(reward.model)
    for key in named:
        if "q_proj.weight" in key or "k_proj.weight" in key:
            named[key] = named[key] * 2
    reward.model.load(named, "far")
    return reward


def cast_by(reward: Qwen2VLReward, path: str) -> Qwen2VLReward:
    reward.placed(torch.bfloat16, 16, stays=path != "visits")
    if path == "streams":
        reward.stream()
    return reward


def error(scores: Tensor, wide: Tensor) -> float:
    return float((scores - wide).square().mean().sqrt() / wide.std())


@pytest.mark.parametrize("path", ["stays", "visits", "streams"])
def test_a_bfloat16_judge_follows_float32_at_long_positions(path: str, tmp_path: Path) -> None:
    questions = shown(1, **LONG)
    wide = answers(far(tmp_path), questions)
    narrow = cast_by(far(tmp_path), path)
    assert narrow.model.spread.dtype is narrow.model.spread_seen.dtype is torch.float32
    assert error(answers(narrow, questions), wide) < TOLERANCE
    narrow.model.spread, narrow.model.spread_seen = (
        table.bfloat16() for table in (narrow.model.spread, narrow.model.spread_seen)
    )
    assert error(answers(narrow, questions), wide) > 2 * TOLERANCE, "tables in bfloat16 would be found"
