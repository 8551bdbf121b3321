"""Rewards that learn more words, and what a mirror does to the form of a detail."""

from __future__ import annotations

from dataclasses import asdict

import torch

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.pocket.vocabulary import VOCABULARY_SIZE
from streamt1.rewards.pocket import FrameNet, RewardConfig
from streamt1.training.rewards import known_words, sides_of

PROMPTS = [
    f"a red circle{detail} resting on a navy plain background" for detail in ("", " with a patch", " with a cap")
]


def test_a_reward_of_fewer_words_says_the_same_of_prompts_that_it_knew() -> None:
    torch.manual_seed(0)
    old = FrameNet(RewardConfig(words=VOCABULARY_SIZE - 2)).eval()
    new = FrameNet(RewardConfig()).eval()
    weights = known_words(old.state_dict(), {"model": asdict(old.config)}, new)
    new.load_state_dict(weights)
    frames, tokens = torch.rand(3, 3, 64, 64), pad_tokens(PROMPTS)
    with torch.no_grad():
        before, after = old(frames[:1], tokens[:1])[0], new(frames, tokens)[0]
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert torch.isfinite(after).all(), "new words have random vectors"


def test_only_the_detail_that_is_named_changes_its_form_in_a_mirror() -> None:
    tokens = pad_tokens(PROMPTS)[None]
    assert sides_of("patch", tokens, "cpu").tolist() == [[1, -1, 1]]
    assert sides_of("cap", tokens, "cpu").tolist() == [[1, 1, -1]]
