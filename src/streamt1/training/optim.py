"""Muon for matrices, Adam for the rest, and an exponential moving average of weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn


def orthogonalise(matrix: Tensor, rounds: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix, roughly (quintic Newton-Schulz; Jordan et al., Muon, 2024). Input [m, n]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    flip = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if flip else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if flip else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, scaled to the size of an Adam update (Liu et al., 2025).

    Parameters of more than two dimensions are seen as [first, rest].
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 2e-3, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; parameters without a gradient stay."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(param)
                velocity = state["velocity"].mul_(group["momentum"]).add_(param.grad)
                ahead = (param.grad + group["momentum"] * velocity).flatten(1)
                update = orthogonalise(ahead) * (0.2 * math.sqrt(max(ahead.shape)))
                param.mul_(1 - group["lr"] * group["decay"]).add_(update.view_as(param), alpha=-group["lr"])


class MuonAdam:
    """Both optimisers as one: Muon for hidden matrices, Adam for vectors, embeddings, inputs and outputs."""

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        adam_names: tuple[str, ...] = (),
        decay: float = 0.0,
        adam_scale: float = 1.0,
    ) -> None:
        matrices, others = [], []
        for name, param in model.named_parameters():
            matrix = param.ndim >= 2 and min(param.flatten(1).shape) > 4
            hidden = matrix and not any(part in name for part in adam_names)
            (matrices if hidden else others).append(param)
        self.lrs = (lr, lr * adam_scale)
        adam = torch.optim.Adam(others, lr, (0.9, 0.98))
        self.parts: list[torch.optim.Optimizer] = [Muon(matrices, lr, decay=decay), adam]
        self.params = matrices + others

    def step(self, scale: float = 1.0, clip: float = 1.0) -> float:
        """Clips the gradient's norm, updates with lr * scale, clears the gradients; returns the norm."""
        norm = float(nn.utils.clip_grad_norm_(self.params, clip))
        for part, lr in zip(self.parts, self.lrs, strict=True):
            for group in part.param_groups:
                group["lr"] = lr * scale
            if math.isfinite(norm):
                part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, object]:
        """State of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, list[dict[str, object]]]) -> None:
        """Restores what `state_dict` gave."""
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)


M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """Exponential moving average of a model's parameters; the early average forgets its start faster."""

    def __init__(self, model: M, decay: float) -> None:
        self.model: M = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model; step counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, param in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(param.detach(), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` gave."""
        self.model.load_state_dict(state)


def warm_cosine(progress: float, warm: float = 0.02, floor: float = 0.05) -> float:
    """Learning-rate factor at a share of the run: rises linearly to 1, then falls as a half cosine to `floor`."""
    if progress < warm:
        return max(progress, 1e-3) / warm
    share = (min(progress, 1.0) - warm) / (1 - warm)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
