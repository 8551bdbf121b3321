"""An analytic toy: a Gaussian random walk whose best video is known, so that a search can be judged without a network.

Chunk ``t`` is drawn from ``N(memory * x_{t-1}, spread^2)``. What a distilled model learns, the end of the probability
flow from any noise level, has a closed form for a Gaussian, so the sampler runs as it does over a transformer. The
rewards measure the distance to a target: the known optimum is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule, few_step
from streamt1.core.errors import CheckpointError
from streamt1.core.protocols import Switched
from streamt1.core.snapshot import Snapshot
from streamt1.core.timeline import Switch
from streamt1.core.types import RewardOutput, Route


@dataclass(frozen=True, eq=False)
class GaussianBranch:
    """The mean of the next chunk, and the routes of the chunks so far."""

    mean: Tensor
    routes: tuple[Route | None, ...] = ()


class GaussianBackbone:
    """Satisfies ``core.protocols.Backbone`` and ``Portable``. ``live`` counts branches that have not been released."""

    steps, draws = len(Schedule().steps), Schedule().draws

    def __init__(self, channels: int = 1, memory: float = 0.8, spread: float = 1.0) -> None:
        self.chunk_shape = (1, channels, 1, 1)
        self.memory, self.spread, self.live = memory, spread, 0

    def start(self, prompt: str) -> GaussianBranch:
        self.live += 1
        return GaussianBranch(torch.zeros(self.chunk_shape))

    def denoise(
        self, parents: Sequence[GaussianBranch], x: Tensor, noise: Tensor, steps: range
    ) -> tuple[Tensor, Tensor]:
        means = torch.stack([parent.mean for parent in parents])
        return few_step(lambda x, t: self._flow(means, x, t / 1000), x, noise, Schedule(), steps)

    def commit(self, branch: GaussianBranch, latents: Tensor, route: Route | None) -> GaussianBranch:
        self.live += 1
        return GaussianBranch(self.memory * latents, (*branch.routes, route))

    def switch(self, branch: GaussianBranch, prompt: str, memory: Switch | None) -> Switched:
        """``cut`` forgets the mean; there is nothing to write again."""
        self.live += 1
        return Switched(replace(branch, mean=torch.zeros(self.chunk_shape)) if memory == "cut" else replace(branch))

    def switch_passes(self, memory: Switch | None) -> int:
        return 0

    def inspect(self, branch: GaussianBranch) -> None:
        return None

    def release(self, branch: GaussianBranch) -> None:
        self.live -= 1

    def weigh(self, branch: GaussianBranch) -> int:
        """See ``Portable.weigh``."""
        return branch.mean.nbytes

    def dump(self, branch: GaussianBranch) -> Snapshot:
        """The mean, the routes, and the walk that they belong to."""
        routes = [route and route.value for route in branch.routes]
        return Snapshot("gaussian", {"mean": branch.mean}, {"walk": self._walk(), "routes": routes})

    def load(self, snapshot: Snapshot) -> GaussianBranch:
        """See ``Portable.load``."""
        if snapshot.kind != "gaussian":
            raise CheckpointError(
                f"the {snapshot.words.noun} is of a {snapshot.kind[:20]!r} backbone, not of 'gaussian'"
            )
        snapshot.check_same("walk", self._walk(), "by another walk", "load it into the one it names")
        try:
            mean = snapshot.tensor("mean")
            routes = tuple(route and Route(route) for route in snapshot.metadata["routes"])
            if mean.shape != self.chunk_shape or mean.dtype != torch.float32:
                raise ValueError("a mean of another shape")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the {snapshot.words.noun} is not what a backbone dumps; {snapshot.words.again}"
            ) from error
        self.live += 1
        return GaussianBranch(mean, routes)

    def _walk(self) -> dict[str, Any]:
        return {"channels": self.chunk_shape[1], "memory": self.memory, "spread": self.spread}

    def _flow(self, mean: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """``(x_t - x0) / sigma`` with ``x0`` at the end of the flow: it stands as many deviations from its mean as
        ``x_t = (1 - sigma) x0 + sigma eps`` does from its own."""
        keep = 1 - sigma
        deviations = (x - keep * mean) / (keep**2 * self.spread**2 + sigma**2).sqrt()
        return (x - mean - self.spread * deviations) / sigma


class IdentityDecoder:
    """Shows latents as they are: ``[N, F, C, H, W]`` frames."""

    fps = 16
    time_stride = 1

    def start(self) -> None:
        return None

    def decode(self, states: Sequence[None], latents: Tensor) -> tuple[Tensor, list[None]]:
        return latents, [None] * len(latents)


@dataclass(frozen=True)
class TargetFrameReward:
    """Minus the mean squared distance of each frame to a constant target; 0 is the optimum."""

    target: float = 1.0

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        return RewardOutput(-(frames - self.target).square().flatten(1).mean(1))


@dataclass(frozen=True)
class TargetClipReward:
    """The same over a clip."""

    target: float = 1.0

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        return TargetFrameReward(self.target).score(clips, text)
