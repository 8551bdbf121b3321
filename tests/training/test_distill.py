"""Reward-weighted distillation."""

import pytest
import torch

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.core.types import RewardOutput
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.training.distill import Judge


class Bright:
    """Likes bright clips."""

    def score(self, clips: torch.Tensor, *words: object) -> RewardOutput:
        return RewardOutput(clips.mean((1, 2, 3, 4)))


@pytest.mark.parametrize("strength", [0.0, 1.0, 5.0])
def test_better_rollouts_weigh_more(strength: float) -> None:
    judge = Judge(strength, PocketDecoder.bundled(), Bright(), Bright())  # type: ignore[arg-type]
    shades = torch.tensor([0.5, 0.9, 0.1]).view(3, 1, 1, 1, 1).expand(-1, 9, 3, 64, 64)
    latents = judge.codec.encode(shades)
    tokens = pad_tokens(["a red circle resting on a navy plain background"] * 3)
    weights = judge.weights(latents, tokens)
    assert weights.mean().item() == pytest.approx(1)
    assert weights.tolist() == pytest.approx([1, 1, 1]) if strength == 0 else weights[1] > weights[0] > weights[2]
