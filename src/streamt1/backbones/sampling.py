"""Few-step flow-matching sampling: the schedule, and the loop that all backbones share (SPEC section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError

TRAIN_STEPS = 1000
Sampler = Literal["renoise", "euler"]


def shifted_sigmas(shift: float) -> Tensor:
    """The 1000 noise levels of training, from 1 down, float32: ``shift * s / (1 + (shift - 1) * s)``."""
    s = torch.linspace(1, 0, TRAIN_STEPS + 1)[:-1]
    return shift * s / (1 + (shift - 1) * s)


@dataclass(frozen=True)
class Schedule:
    """Which noise levels a chunk is denoised at.

    Attributes:
        sampler: how a step goes on from what it predicts: ``renoise`` mixes the clean prediction with fresh noise, as
            distilled streaming models do (SPEC section 3); ``euler`` follows the flow, x + (sigma' - sigma) v, and so
            keeps the initial noise (the probability-flow ODE).
        steps: denoising steps, descending, in 1..1000; they are *warped*: step ``t`` reads entry ``1000 - t`` of the
            shifted table.
        shift: timestep shift of the model's training.
    """

    steps: tuple[int, ...] = (1000, 750, 500, 250)
    shift: float = 5.0
    sampler: Sampler = "renoise"

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise ConfigError(f"sampler={self.sampler!r} is none of {', '.join(get_args(Sampler))}")
        falling = all(a > b for a, b in zip(self.steps, self.steps[1:]))
        if not self.steps or not falling or not all(1 <= t <= TRAIN_STEPS for t in self.steps):
            raise ConfigError(f"steps={self.steps} must fall strictly, within {TRAIN_STEPS}..1")

    @cached_property
    def sigmas(self) -> Tensor:
        """Noise level of each step, ``[steps]`` float32; ``x_t = (1 - sigma) * x0 + sigma * noise``."""
        return shifted_sigmas(self.shift)[[TRAIN_STEPS - t for t in self.steps]]

    @property
    def draws(self) -> int:
        """Fresh noise that a chunk needs: once after every step but the last; none where the flow is followed."""
        return len(self.steps) - 1 if self.sampler == "renoise" else 0

    @property
    def timesteps(self) -> Tensor:
        """What the model is told, ``1000 * sigma``."""
        return self.sigmas * TRAIN_STEPS


def to_x0(noisy: Tensor, flow: Tensor, sigma: Tensor) -> Tensor:
    """``x0 = x_t - sigma * v``, computed in float64."""
    return (noisy.double() - sigma.double() * flow.double()).to(noisy.dtype)


def few_step(
    predict_flow: Callable[[Tensor, Tensor], Tensor], x: Tensor, noise: Tensor, schedule: Schedule, steps: range
) -> tuple[Tensor, Tensor]:
    """Some denoising steps of ``N`` chunks: predict the flow, go on to the next level as the sampler does, and so on.

    Nothing is kept between calls, so a chunk may be denoised in several.

    Args:
        predict_flow: ``(x_t [N, F, C, H, W], timestep) -> flow``.
        x: initial noise ``[N, F, C, H, W]`` before step 0, later the noisy latents that an earlier call returned.
        noise: ``[N, schedule.draws, F, C, H, W]``, on x's device; ``noise[:, i]`` is added after step ``i``.
        steps: which of the schedule's to take.

    Returns:
        The latents that the next step begins with, clean after the last one; and the x0 that the last one predicts.
    """
    x0, sigmas, timesteps = x, schedule.sigmas.to(x.device), schedule.timesteps.to(x.device)
    for i in steps:
        flow = predict_flow(x, timesteps[i])
        x0 = to_x0(x, flow, sigmas[i])
        if i == len(sigmas) - 1:
            x = x0
        elif schedule.sampler == "euler":
            x = x + (sigmas[i + 1] - sigmas[i]) * flow
        else:
            x = (1 - sigmas[i + 1]) * x0 + sigmas[i + 1] * noise[:, i]
    return x, x0
