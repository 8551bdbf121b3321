"""Few-step flow-matching sampling: the schedule, and the loop that all backbones share (SPEC section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Thin

TRAIN_STEPS = 1000


def shifted_sigmas(shift: float) -> Tensor:
    """The 1000 noise levels of training, from 1 down, float32: ``shift * s / (1 + (shift - 1) * s)``."""
    s = torch.linspace(1, 0, TRAIN_STEPS + 1)[:-1]
    return shift * s / (1 + (shift - 1) * s)


@dataclass(frozen=True)
class Schedule:
    """Which noise levels a chunk is denoised at.

    Attributes:
        steps: denoising steps, descending, in 1..1000; they are *warped*: step ``t`` reads entry ``1000 - t`` of the
            shifted table.
        shift: timestep shift of the model's training.
    """

    steps: tuple[int, ...] = (1000, 750, 500, 250)
    shift: float = 5.0

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.steps, self.steps[1:]))
        if not self.steps or not falling or not all(1 <= t <= TRAIN_STEPS for t in self.steps):
            raise ConfigError(f"steps={self.steps} must fall strictly, within {TRAIN_STEPS}..1")

    @cached_property
    def sigmas(self) -> Tensor:
        """Noise level of each step, ``[steps]`` float32; ``x_t = (1 - sigma) * x0 + sigma * noise``."""
        return shifted_sigmas(self.shift)[[TRAIN_STEPS - t for t in self.steps]]

    @property
    def timesteps(self) -> Tensor:
        """What the model is told, ``1000 * sigma``."""
        return self.sigmas * TRAIN_STEPS


def to_x0(noisy: Tensor, flow: Tensor, sigma: Tensor) -> Tensor:
    """``x0 = x_t - sigma * v``, computed in float64."""
    return (noisy.double() - sigma.double() * flow.double()).to(noisy.dtype)


def few_step(
    predict_flow: Callable[[Tensor, Tensor, Sequence[int]], Tensor],
    noise: Tensor,
    generators: Sequence[torch.Generator],
    schedule: Schedule,
    thin: Thin | None = None,
    rows: Sequence[int] | None = None,
) -> Tensor:
    """Denoises ``N`` chunks: predict x0, re-noise it to the next level with fresh noise, and so on.

    Args:
        predict_flow: ``(x_t [n, F, C, H, W], timestep, rows of the n candidates that are left) -> flow``.
        noise: initial noise ``[N, F, C, H, W]``, on the model's device.
        generators: one CPU generator per candidate; each draws ``[F, C, H, W]`` after every step but the last.
        thin: may drop candidates between steps, see ``core.protocols.Thin``.
        rows: what the candidates are called, where they are part of a larger batch; None for 0 to N - 1.

    Returns:
        Clean latents ``[N, F, C, H, W]``, float32, of the candidates that were kept.
    """
    x, last = noise, len(schedule.steps) - 1
    rows = range(len(noise)) if rows is None else rows
    for i, (sigma, timestep) in enumerate(zip(schedule.sigmas, schedule.timesteps)):
        x = to_x0(x, predict_flow(x, timestep, rows), sigma.to(x.device))
        if i < last:
            if thin is not None:
                kept = [rows.index(row) for row in thin(i + 1, rows, x)]
                x, generators, rows = x[kept], [generators[k] for k in kept], [rows[k] for k in kept]
            fresh = torch.stack([torch.randn(noise.shape[1:], generator=g) for g in generators]).to(x.device)
            level = schedule.sigmas[i + 1].to(x.device)
            x = (1 - level) * x + level * fresh
    return x
