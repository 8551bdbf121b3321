"""The judge that the search does not see: the oracle of the pocket world, where its models are measured.

A clip of several scenes is read scene by scene, each against its own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.errors import UnknownNameError
from streamt1.core.frames import floats
from streamt1.evaluation.metrics import METRICS, ends
from streamt1.pocket.identity import identity
from streamt1.pocket.oracle import Reading, measure
from streamt1.pocket.scenes import parse

POCKET = ("pocket", "pocket-base")
"""Backbones whose clips the oracle can read."""
Oracle = Callable[[Tensor, str], Reading]
"""Reads a clip ``[T, 3, 64, 64]`` in 0..1 against a prompt; raises ``PromptError`` for what is none of the world's."""
READINGS = tuple(field.name for field in fields(Reading))


def check_judge(config: RunConfig, judge: str) -> None:
    """Raises ``UnknownNameError`` for a column that this model's clips will not have."""
    known = [*METRICS, "reward_final", "reward_short"]
    if config.backbone in POCKET:
        known += ["oracle", "oracle_identity", *(f"oracle_{name}" for name in READINGS)]
    if judge not in known:
        raise UnknownNameError(f"judge of {config.backbone}'s clips", judge, known)


def oracle_for(config: RunConfig) -> Oracle | None:
    """The oracle of the pocket world; None where the model is not pocket."""
    if config.backbone not in POCKET:
        return None
    return lambda clip, prompt: measure(_pixels(clip), parse(prompt))


@dataclass(frozen=True)
class Showing:
    """One scene of a clip: its prompt, and its frames ``[T, 3, 64, 64]``."""

    prompt: str
    frames: Tensor


def showings(frames: Tensor, prompts: Sequence[str], ends: Sequence[int]) -> list[Showing]:
    """A clip, cut into its scenes. ``ends``: of each scene, in frames."""
    return [Showing(prompt, frames[begin:end]) for prompt, (begin, end) in zip(prompts, pairwise([0, *ends]))]


def oracle_columns(oracle: Oracle, scenes: Sequence[Showing]) -> dict[str, float]:
    """``oracle`` and each of its measures in 0..1, means over the scenes, and ``oracle_drift``: first window less last.

    Of several scenes also ``oracle_scene_1`` and so on, and, where a prompt returns, ``oracle_identity``: see
    ``pocket.identity``; the mean over all returns, each compared with the first showing.
    """
    readings = [oracle(scene.frames, scene.prompt) for scene in scenes]
    frames = np.concatenate([reading.frames for reading in readings])
    first, last = ends(len(frames))
    summaries = [reading.summary() for reading in readings]
    means = {name: float(np.mean([summary[name] for summary in summaries])) for name in summaries[0]}
    parts = {f"oracle_{name}": value for name, value in means.items() if name != "mean"}
    drift = float(np.mean(frames[first]) - np.mean(frames[last]))
    found = {"oracle": means["mean"], **parts, "oracle_drift": drift}
    if len(scenes) > 1:
        found |= {f"oracle_scene_{number}": summary["mean"] for number, summary in enumerate(summaries, 1)}
    kept = _identities(scenes)
    return found | ({"oracle_identity": float(np.mean(kept))} if kept else {})


def _identities(scenes: Sequence[Showing]) -> list[float]:
    first: dict[str, Showing] = {}
    found = []
    for scene in scenes:
        if scene.prompt in first:
            found.append(identity(_pixels(first[scene.prompt].frames), _pixels(scene.frames), parse(scene.prompt)))
        first.setdefault(scene.prompt, scene)
    return found


def _pixels(clip: Tensor) -> np.ndarray:
    return floats(clip.detach()).float().cpu().numpy()
