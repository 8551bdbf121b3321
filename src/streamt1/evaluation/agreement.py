"""How far the rewards agree with the oracle, which they cannot ask: rank correlations, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from streamt1.core.protocols import Models
from streamt1.evaluation.statistics import spearman
from streamt1.pocket.oracle import Reading, measure
from streamt1.pocket.scenes import Scene
from streamt1.pocket.world import FPS
from streamt1.rewards import pocket as rewards
from streamt1.training.preferences import oracle_labels

HEADS = ("clip", *rewards.HEADS)
"""Of the clip reward: its score, and what that is the sum of."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Frames, as the oracle reads them and as the rewards score them.

    Attributes:
        frame: the frame reward's score, without unit.
        heads: those of the clip reward, by ``HEADS``.
    """

    reading: Reading
    frame: float
    heads: dict[str, float]

    @property
    def oracle(self) -> float:
        return self.reading.mean


def judge(models: Models, frames: Tensor, scene: Scene) -> Judged:
    """Judges frames [T, 3, H, W] in 0..1 under the prompt of a scene."""
    short = models.frame_reward.score(frames[None], scene.prompt).score.item()
    clip = models.clip_reward.score(frames[None], FPS, scene.prompt)
    heads = {"clip": clip.score.item(), **{name: part.item() for name, part in clip.components.items()}}
    return Judged(measure(frames.cpu().numpy(), scene), short, heads)


def correlations(judged: Sequence[Judged]) -> dict[str, float]:
    """Spearman correlation of each reward with what the oracle says of the same thing."""
    oracle = [one.oracle for one in judged]
    labels: dict[str, Sequence[float]] = dict(zip(rewards.HEADS, zip(*(oracle_labels(one.reading) for one in judged))))
    found = {name: spearman([one.heads[name] for one in judged], labels.get(name, oracle)) for name in HEADS}
    return {"frame": spearman([one.frame for one in judged], oracle), **found}
