"""The judge that the search does not see: the oracle of the pocket world, where its models are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.errors import UnknownNameError
from streamt1.core.frames import floats
from streamt1.evaluation.metrics import METRICS, ends
from streamt1.pocket.oracle import Reading, measure
from streamt1.pocket.scenes import parse

POCKET = ("pocket", "pocket-base")
"""Backbones whose clips the oracle can read."""
Oracle = Callable[[Tensor], Reading]
READINGS = tuple(field.name for field in fields(Reading))


def check_judge(config: RunConfig, judge: str) -> None:
    """Raises ``UnknownNameError`` for a column that this model's clips will not have."""
    known = [*METRICS, "reward_final", "reward_short"]
    if config.backbone in POCKET:
        known += ["oracle", *(f"oracle_{name}" for name in READINGS)]
    if judge not in known:
        raise UnknownNameError(f"judge of {config.backbone}'s clips", judge, known)


def oracle_for(config: RunConfig, prompt: str) -> Oracle | None:
    """Reads clips ``[T, 3, 64, 64]`` in 0..1 against a prompt; None where the model is not pocket.

    Raises:
        PromptError: the prompt is not a sentence of the pocket world.
    """
    if config.backbone not in POCKET:
        return None
    scene = parse(prompt)
    return lambda clip: measure(floats(clip.detach()).float().cpu().numpy(), scene)


def oracle_columns(reading: Reading) -> dict[str, float]:
    """``oracle`` and each of its measures in 0..1, and ``oracle_drift``: first window less last, in -1..1."""
    summary = reading.summary()
    first, last = ends(len(reading.frames))
    drift = float(np.mean(reading.frames[first]) - np.mean(reading.frames[last]))
    parts = {f"oracle_{name}": value for name, value in summary.items() if name != "mean"}
    return {"oracle": summary["mean"], **parts, "oracle_drift": drift}
