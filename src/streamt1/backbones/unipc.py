"""UniPC (Zhao et al., arXiv 2302.04867), second order, B(h) = bh2, predicting clean latents: as LongLive 2 samples.

A multistep solver of the probability-flow ODE: each step first corrects the last sample by what the model now says,
then predicts the next from the clean latents of this step and of the one before. No noise is drawn on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ORDER = 2


@dataclass(frozen=True)
class UniPCState:
    """What a step goes on from; tensors ``[N, F, C, H, W]``.

    Attributes:
        x: the noisy latents that the model is asked about: predicted, not yet corrected.
        corrected: the corrected sample of the step before.
        clean: what the model said the clean latents are at the last steps, the latest first; as many as there were, at
            most two.
    """

    x: Tensor
    corrected: Tensor
    clean: tuple[Tensor, ...] = ()

    def packed(self) -> Tensor:
        """``[N, 2 + len(clean), F, C, H, W]``: one tensor, whose rows are candidates."""
        return torch.stack([self.x, self.corrected, *self.clean], dim=1)

    @classmethod
    def unpacked(cls, held: Tensor) -> UniPCState:
        """What ``packed`` gave, or initial noise ``[N, F, C, H, W]``."""
        if held.dim() == 5:
            return cls(held, held)
        x, corrected, *clean = held.unbind(1)
        return cls(x, corrected, tuple(clean))


class UniPC:
    """The solver over given noise levels.

    Args:
        sigmas: of the steps, falling, all in (0, 1); the level after the last is 0.
    """

    def __init__(self, sigmas: Sequence[float]) -> None:
        self.sigmas = list(sigmas)
        self._logs = [math.log((1 - sigma) / sigma) for sigma in self.sigmas]

    def order(self, step: int) -> int:
        """Of the predictor that leads away from a step: lower at the start, where little is known, and at the end."""
        return min(ORDER, len(self.sigmas) - step, step + 1)

    def step(self, index: int, state: UniPCState, clean: Tensor) -> UniPCState:
        """The next step's state, given what the model's answer says the clean latents are (``x - sigma v``)."""
        known = (clean, *state.clean)
        corrected = self._corrected(index, state.corrected, known) if index else state.x
        if index == len(self.sigmas) - 1:
            return UniPCState(clean, corrected, known[:ORDER])
        return UniPCState(self._predicted(index, corrected, known), corrected, known[:ORDER])

    def _predicted(self, index: int, corrected: Tensor, known: Sequence[Tensor]) -> Tensor:
        """UniP: from a step's corrected sample to the next step."""
        h, toward = self._logs[index + 1] - self._logs[index], known[0]
        if self.order(index) > 1:
            r = (self._logs[index - 1] - self._logs[index]) / h
            toward = toward + 0.5 * (known[1] - known[0]) / r
        return self._moved(index, index + 1, corrected, toward)

    def _corrected(self, index: int, before: Tensor, known: Sequence[Tensor]) -> Tensor:
        """UniC: the step that led here once more, now that the clean latents at its end are known."""
        h, change = self._logs[index] - self._logs[index - 1], known[0] - known[1]
        if self.order(index - 1) == 1:
            return self._moved(index - 1, index, before, known[1] + 0.5 * change)
        r = (self._logs[index - 2] - self._logs[index - 1]) / h
        base = math.expm1(-h)
        first = base / -h - 1
        targets = first / base, 2 * (first / -h - 0.5) / base
        own = (targets[1] - r * targets[0]) / (1 - r)  # solves a + b = targets[0], r a + b = targets[1] for b
        older = targets[0] - own
        return self._moved(index - 1, index, before, known[1] + older * (known[2] - known[1]) / r + own * change)

    def _moved(self, start: int, end: int, sample: Tensor, toward: Tensor) -> Tensor:
        """From one level to another along clean latents ``toward``: the exponential integrator's first-order step."""
        h = self._logs[end] - self._logs[start]
        return self.sigmas[end] / self.sigmas[start] * sample - (1 - self.sigmas[end]) * math.expm1(-h) * toward
