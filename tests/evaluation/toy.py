"""A world of milliseconds for the evaluation's machinery: the Gaussian toy, shown as small coloured pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from torch import Tensor

from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder, TargetClipReward, TargetFrameReward
from streamt1.config.schema import RunConfig
from streamt1.core.protocols import Models
from streamt1.core.timeline import Scene, Timeline
from streamt1.evaluation.pool import Pool
from streamt1.evaluation.suites import Length, Suite
from streamt1.pipeline.pipeline import Pipeline

CONFIG = RunConfig(backbone="gaussian", device="cpu")
SUITE = Suite(
    name="toy",
    prompts=("one", "two"),
    lengths=(Length(seconds=2, prompts=2, seeds=2), Length(seconds=3, prompts=1)),
    budgets=((2, 1), (2, 2)),
    ablations=("without_sinking",),
    judge="reward_final",
)
CLIPS = 4 * (1 + 3 * 2 + 1) + (1 + 3 * 2 + 1)


class TileDecoder(IdentityDecoder):
    """Shows each latent pixel as 8x8 pixels."""

    def decode(self, states: Sequence[None], latents: Tensor) -> tuple[Tensor, list[None]]:
        return latents.expand(*latents.shape[:3], 8, 8).clamp(0, 1), [None] * len(latents)


class ToyPipeline:
    """What an evaluation asks of ``Pipeline``."""

    def __init__(self) -> None:
        self.config = CONFIG
        rewards = TargetFrameReward(0.5), TargetClipReward(0.5)
        self.models = Models(GaussianBackbone(3, spread=0.5), TileDecoder(), *rewards)

    def timeline(self, prompt: str | Sequence[tuple[str, float]], seconds: float | None = None) -> Timeline:
        scenes = [(prompt, seconds or 0.0)] if isinstance(prompt, str) else prompt
        return Timeline(tuple(Scene(text, round(length)) for text, length in scenes))

    def check_prompt(self, prompt: str) -> None:
        assert prompt.strip()


def toy_pool(pipeline: Any = None) -> Callable[[RunConfig, int], AbstractContextManager[Pool]]:
    """Opens pools of one process over the toy."""

    @contextmanager
    def opener(config: RunConfig, jobs: int) -> Iterator[Pool]:
        yield Pool(config, 1, None, cast(Pipeline, pipeline or ToyPipeline()))

    return opener
