"""Distillation: which gradient reaches the student, and how rewards weigh it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.backbones.wan.config import WanConfig
from streamt1.core.types import RewardOutput
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.training.distill import (
    GUIDANCE,
    Conditions,
    RewardWeights,
    matching_gradient,
    matching_loss,
    renoise,
    shots_of,
    student_sample,
)
from streamt1.training.dit import Pocket

TINY = WanConfig(
    dim=32, ffn_dim=48, num_layers=2, num_heads=2, in_channels=8, out_channels=8, text_dim=16, text_len=16, freq_dim=32
)
PROMPTS = ["a red circle resting on a navy plain background", "a blue star sliding on a black dotted background"]


def tiny(seed: int) -> Pocket:
    torch.manual_seed(seed)
    made = Pocket(TINY)
    torch.nn.init.normal_(made.dit.head.head.weight, std=0.2)
    return made


def conditions(chunks: int = 3) -> Conditions:
    draw = torch.Generator().manual_seed(3)
    history = torch.randn(2, 3 * chunks, 8, 8, 8, generator=draw)
    tokens = torch.stack([pad_tokens([prompt] * chunks) for prompt in PROMPTS])
    return Conditions(tokens, history, torch.tensor([0, 4]), torch.tensor([[0, 0], [1, 0]]))


@pytest.mark.parametrize("exit_step", [0, 2, 3])
def test_only_the_exit_step_carries_a_gradient_and_it_reaches_every_weight(exit_step: int) -> None:
    student, learning = tiny(0), list[bool]()
    student.dit.register_forward_hook(lambda *seen: learning.append(torch.is_grad_enabled()))
    student.dit.blocks[0].register_forward_hook(lambda *seen: learning.append(torch.is_grad_enabled()))
    made = student_sample(student, conditions(), exit_step, torch.Generator().manual_seed(1), "cpu")
    assert learning, "the model was asked"
    assert learning.count(True) == len(learning) // (exit_step + 1), "of all steps alike, the last one learns"
    assert learning[-1]
    made.square().mean().backward()
    assert all(parameter.grad is not None for parameter in student.dit.parameters())


def test_the_gradient_on_what_the_student_made_is_the_gap_times_the_weight() -> None:
    made, gap = torch.randn(2, 6, 8, 4, 4, requires_grad=True), torch.randn(2, 6, 8, 4, 4)
    weight = torch.tensor([0.5, 1.5])
    matching_loss(made, gap, weight).backward()
    assert made.grad is not None
    expected = gap * weight.view(2, 1, 1, 1, 1) / gap.numel()
    assert torch.allclose(made.grad, expected, atol=1e-8)


def test_the_gap_points_from_the_real_models_guided_answer_to_the_fakes() -> None:
    """Recomputed from the answers themselves, one after another, each chunk by its own distance."""
    real, fake, given = tiny(1), tiny(2), conditions()
    made = torch.randn(2, 9, 8, 8, 8)
    gap = matching_gradient(made, given, real, fake, torch.Generator().manual_seed(5), "cpu")
    noisy, _, sigma = renoise(made, torch.Generator().manual_seed(5))
    silent = Conditions(torch.zeros_like(given.tokens), given.history, given.gap, given.appended)
    with torch.no_grad():
        told, untold = given.x0(real, noisy, sigma, "cpu"), silent.x0(real, noisy, sigma, "cpu")
        followed = given.x0(fake, noisy, sigma, "cpu")
    guided = untold + GUIDANCE * (told - untold)
    for clip in range(2):
        for chunk in range(3):
            frames = slice(3 * chunk, 3 * chunk + 3)
            distance = (made - guided)[clip, frames].abs().mean()
            expected = (followed - guided)[clip, frames] / distance
            assert torch.allclose(gap[clip, frames], expected, atol=1e-4)
    assert not gap.requires_grad


def test_a_student_that_follows_its_gradient_comes_nearer_to_the_real_model() -> None:
    real, fake, given = tiny(1), tiny(2), conditions()
    made = torch.randn(2, 9, 8, 8, 8, requires_grad=True)
    optimiser = torch.optim.SGD([made], lr=0.2 * made.numel())

    def distance(clean: Tensor) -> float:
        """How far the fake's answer stands from the real one's around these clips."""
        gaps = [matching_gradient(clean, given, real, fake, torch.Generator().manual_seed(s), "cpu") for s in range(4)]
        return float(torch.stack(gaps).square().mean())

    before = distance(made.detach())
    for step in range(8):
        gap = matching_gradient(made.detach(), given, real, fake, torch.Generator().manual_seed(step), "cpu")
        optimiser.zero_grad()
        matching_loss(made, gap, torch.ones(2)).backward()
        optimiser.step()
    assert distance(made.detach()) < before


def test_the_shots_of_a_story_are_its_runs_of_one_prompt() -> None:
    assert shots_of([[1], [1], [2], [1]]) == [([1], 0, 21), ([2], 21, 33), ([1], 33, 45)]


class Bright:
    """Likes bright clips."""

    def score(self, clips: torch.Tensor, *words: object) -> RewardOutput:
        return RewardOutput(clips.mean((1, 2, 3, 4)))


@pytest.mark.parametrize("strength", [0.0, 1.0, 5.0])
def test_better_rollouts_weigh_more(strength: float) -> None:
    rewards = RewardWeights(strength, PocketDecoder.bundled(), Bright(), Bright())  # type: ignore[arg-type]
    shades = torch.tensor([0.5, 0.9, 0.1]).view(3, 1, 1, 1, 1).expand(-1, 9, 3, 64, 64)
    latents = rewards.decoder.encode(shades)
    tokens = pad_tokens(["a red circle resting on a navy plain background"] * 3)[:, None].expand(-1, 1, -1)
    weights = rewards.weights(latents, tokens)
    assert weights.mean().item() == pytest.approx(1)
    if strength == 0:
        assert weights.tolist() == pytest.approx([1, 1, 1])
    else:
        assert weights[1] > weights[0] > weights[2]
