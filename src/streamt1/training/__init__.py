"""The recipe that made the pocket model: one function a stage, resumable and logged; each builds on the one before."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from streamt1.training.loop import TrainOptions

Stage = Callable[[TrainOptions], None]


def _stage(module: str) -> Stage:
    def run(options: TrainOptions) -> None:
        import_module(f"streamt1.training.{module}").run(options)

    return run


STAGES: dict[str, Stage] = {
    "world": _stage("preview"),
    "vae": _stage("vae"),
    "dit": _stage("dit"),
    "distill": _stage("distill"),
    "rewards": _stage("rewards"),
}
"""Stage name -> function; `world` draws the world and measures its oracle; the others train."""

RECIPE_MINUTES = {"vae": 59.0, "dit": 419.0, "distill": 120.0, "rewards": 44.0}
"""How long each stage of the shipped weights trained, on two CPU cores."""

__all__ = ["RECIPE_MINUTES", "STAGES", "Stage", "TrainOptions"]
