"""Few-step flow-matching sampling: the schedule, and the loop that all backbones share (SPEC section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from streamt1.backbones.unipc import UniPC, UniPCState
from streamt1.core.errors import ConfigError

TRAIN_STEPS = 1000
MOST_SHIFT = 1000
"""Hundred times what models are trained with."""
Sampler = Literal["renoise", "euler", "unipc"]
PredictFlow = Callable[[Tensor, Tensor], Tensor]
UNIPC_FIRST = 0.999
"""Where LongLive 2's levels begin: at 1 itself the solver's first step would be infinite."""


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
            keeps the initial noise (the probability-flow ODE); ``unipc`` follows it, too, to second order, over what
            the last steps predicted (LongLive 2).
        steps: denoising steps, descending, in 0..1000; they are *warped*: step ``t`` reads entry ``1000 - t`` of the
            shifted table. A last step 0 tells the model 0 and reads the table's end (Krea). With ``unipc``, the shift
            is applied to ``.999 t / 1000`` itself, and no step may be 0.
        shift: timestep shift of the model's training.
        first: the steps of the first chunk that is made, where they are others (Causal-Forcing++); empty where not.
        corrected: steps that are taken twice, the first time over the first chunk alone: what that predicts is noised
            to the same level again (test-time correction, arXiv 2602.05871). Never of the first chunk that is made,
            also where a video begins with given ones.
    """

    steps: tuple[int, ...] = (1000, 750, 500, 250)
    shift: float = 5.0
    sampler: Sampler = "renoise"
    first: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise ConfigError(f"sampler={self.sampler!r} is none of {', '.join(get_args(Sampler))}")
        if not 0 < self.shift <= MOST_SHIFT:
            raise ConfigError(f"shift={self.shift} must lie above 0, and be {MOST_SHIFT} at most")
        least = 1 if self.sampler == "unipc" else 0
        for name, steps in (("steps", self.steps), ("first_steps", self.first or self.steps)):
            falling = all(a > b for a, b in pairwise(steps))
            if not steps or not falling or not all(least <= t <= TRAIN_STEPS for t in steps) or steps == (0,):
                raise ConfigError(f"{name}={steps} must fall strictly, within {TRAIN_STEPS}..{least}")
        if self.corrected and self.sampler != "renoise":
            raise ConfigError(
                f"memory.corrected={self.corrected} noises a prediction again, which {self.sampler} never does"
            )
        if len(set(self.corrected)) < len(self.corrected) or not set(self.corrected) <= set(self.steps[1:]):
            raise ConfigError(
                f"memory.corrected={self.corrected} must be some of the steps after the first: {self.steps[1:]}"
            )

    def of_chunk(self, made: int) -> Schedule:
        """Of a chunk before which so many were made."""
        if made or not (self.first or self.corrected):
            return self
        return replace(self, steps=self.first or self.steps, first=(), corrected=())

    @cached_property
    def path(self) -> tuple[tuple[int, bool], ...]:
        """The step of each pass, and whether the pass reads the first chunk alone."""
        return tuple(one for t in self.steps for one in ([(t, True)] if t in self.corrected else []) + [(t, False)])

    @property
    def passes(self) -> int:
        """That a chunk takes."""
        return len(self.path)

    @cached_property
    def sigmas(self) -> Tensor:
        """Noise level of each pass, ``[passes]`` float32; ``x_t = (1 - sigma) * x0 + sigma * noise``."""
        if self.sampler == "unipc":
            return torch.tensor(self.solver.sigmas)
        return shifted_sigmas(self.shift)[[min(TRAIN_STEPS - t, TRAIN_STEPS - 1) for t, _ in self.path]]

    @cached_property
    def solver(self) -> UniPC:
        """Of ``unipc``."""
        parts = [UNIPC_FIRST * step / TRAIN_STEPS for step in self.steps]
        return UniPC([self.shift * part / (1 + (self.shift - 1) * part) for part in parts])

    @property
    def draws(self) -> int:
        """Fresh noise that a chunk needs: once after every pass but the last; none where the flow is followed."""
        return self.passes - 1 if self.sampler == "renoise" else 0

    @cached_property
    def timesteps(self) -> Tensor:
        """What the model is told, ``[passes]`` float32: ``1000 * sigma``, whole numbers with ``unipc``, 0 at step 0."""
        told = self.sigmas * TRAIN_STEPS
        return told.floor() if self.sampler == "unipc" else told * torch.tensor([t > 0 for t, _ in self.path])


def to_x0(noisy: Tensor, flow: Tensor, sigma: Tensor) -> Tensor:
    """``x0 = x_t - sigma * v``, computed in float64."""
    return (noisy.double() - sigma.double() * flow.double()).to(noisy.dtype)


def few_step(
    predict_flow: PredictFlow,
    x: Tensor,
    noise: Tensor,
    schedule: Schedule,
    steps: range,
    over_first: PredictFlow | None = None,
) -> tuple[Tensor, Tensor]:
    """Some denoising steps of ``N`` chunks: predict the flow, go on to the next level as the sampler does, and so on.

    Nothing is kept between calls, so a chunk may be denoised in several.

    Args:
        predict_flow: ``(x_t [N, F, C, H, W], timestep) -> flow``.
        x: initial noise ``[N, F, C, H, W]`` before step 0, later what an earlier call returned.
        noise: ``[N, schedule.draws, F, C, H, W]``, on x's device; ``noise[:, i]`` is added after step ``i``.
        steps: which of the schedule's passes to take.
        over_first: ``predict_flow`` over the first chunk alone; for a schedule that corrects.

    Returns:
        What the next step begins with, one row a chunk: noisy latents ``[N, F, C, H, W]``, with ``unipc`` also what its
        solver remembers; clean latents after the last step. And the x0 that the last step taken predicts.
    """
    x0, sigmas, timesteps = x, schedule.sigmas.to(x.device), schedule.timesteps.to(x.device)
    if schedule.sampler == "unipc":
        return _unipc(predict_flow, x, sigmas, timesteps, schedule.solver, steps)
    for i in steps:
        predict = over_first if over_first is not None and schedule.path[i][1] else predict_flow
        flow = predict(x, timesteps[i])
        x0 = to_x0(x, flow, sigmas[i])
        if i == len(sigmas) - 1:
            x = x0
        elif schedule.sampler == "euler":
            x = x + (sigmas[i + 1] - sigmas[i]) * flow
        else:
            x = (1 - sigmas[i + 1]) * x0 + sigmas[i + 1] * noise[:, i]
    return x, x0


def _unipc(
    predict_flow: PredictFlow,
    x: Tensor,
    sigmas: Tensor,
    timesteps: Tensor,
    solver: UniPC,
    steps: range,
) -> tuple[Tensor, Tensor]:
    """``few_step``, with levels and times on x's device."""
    state, x0 = UniPCState.unpacked(x), x
    for i in steps:
        flow = predict_flow(state.x, timesteps[i])
        x0 = to_x0(state.x, flow, sigmas[i])
        state = solver.step(i, state, x0)
    return (x0 if steps.stop == len(sigmas) else state.packed()), x0
