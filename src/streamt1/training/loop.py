"""The loop that every training stage runs in: a budget, checkpoints that resume, and a log.

A step draws all its randomness from (seed, step) alone, so that a resumed run continues as an uninterrupted one.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from streamt1.core.errors import CheckpointError, ConfigError
from streamt1.core.files import whole_file

Log = Callable[[str], None]
WARM_RATE = 0.6


def _silent(line: str) -> None:
    del line


@dataclass(frozen=True)
class TrainOptions:
    """What every stage accepts.

    Attributes:
        out: folder for checkpoints and logs.
        minutes: wall-clock budget of the stage; None means that `steps` decides.
        steps: number of steps; None means that `minutes` decides. With both, whichever ends first.
        batch: clips a step; None means the stage's own.
        seed: everything random follows from it.
        device: torch device.
        resume: go on from the checkpoint in `out`, if there is one.
        export: write the weights into the package at the end.
        warm: start from the bundled weights, at a lower learning rate, instead of from random ones.
        reward_weight: distillation only: each rollout's loss is weighted by exp(reward_weight * reward); 0 is none.
        log: receives one line of text at a time.
    """

    out: Path
    minutes: float | None = None
    steps: int | None = None
    batch: int | None = None
    seed: int = 0
    device: str = "cpu"
    resume: bool = True
    export: bool = True
    warm: bool = False
    reward_weight: float = 0.0
    log: Log = _silent

    @property
    def rate(self) -> float:
        """Factor of the learning rate."""
        return WARM_RATE if self.warm else 1.0


class Stateful(Protocol):
    """Anything with a state that a checkpoint can hold."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass(frozen=True)
class Progress:
    """Where a run stands: the step (from 0), and the share of the budget used, in [0, 1]."""

    step: int
    share: float


def run_loop(
    options: TrainOptions,
    name: str,
    parts: Mapping[str, Stateful],
    step: Callable[[Progress], dict[str, float]],
    save_every: float = 60.0,
    log_every: int = 50,
) -> Progress:
    """Calls `step` until the budget is used; returns where the run ended.

    Every `save_every` seconds, and at the end, the state of all `parts` goes to `<out>/<name>.pt`; every `log_every`
    steps the mean of what `step` returned goes to `<out>/<name>.jsonl` and, as a line, to `options.log`. Seconds count
    over resumed runs. Raises ConfigError without a budget, CheckpointError for a damaged checkpoint.
    """
    if options.minutes is None and options.steps is None:
        raise ConfigError(f"training '{name}' needs a budget: set minutes, steps, or both")
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{name}.pt"
    done, spent = _restore(file, parts) if options.resume and file.is_file() else (0, 0.0)
    begun = saved = time.monotonic()
    sums: dict[str, float] = {}
    counted = 0
    while True:
        now = time.monotonic()
        progress = _progress(options, done, spent + now - begun)
        if progress.share >= 1 or now - saved > save_every:
            _save(file, parts, done, spent + now - begun)
            saved = now
        if progress.share >= 1:
            return progress
        for key, value in step(progress).items():
            sums[key] = sums.get(key, 0.0) + value
        done, counted = done + 1, counted + 1
        if done % log_every == 0:
            means = {key: value / counted for key, value in sums.items()}
            _report(options, name, done, spent + time.monotonic() - begun, means)
            sums, counted = {}, 0


def _progress(options: TrainOptions, done: int, seconds: float) -> Progress:
    by_time = seconds / (options.minutes * 60) if options.minutes else float(options.minutes is not None)
    by_steps = done / options.steps if options.steps else float(options.steps is not None)
    return Progress(done, min(1.0, max(by_time, by_steps)))


def _report(options: TrainOptions, name: str, done: int, seconds: float, means: dict[str, float]) -> None:
    record = {"stage": name, "step": done, "seconds": round(seconds, 1), **{k: round(v, 6) for k, v in means.items()}}
    with (options.out / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    options.log(f"{name} step {done} {seconds:.0f}s " + " ".join(f"{key} {value:.4f}" for key, value in means.items()))


def _save(file: Path, parts: Mapping[str, Stateful], done: int, seconds: float) -> None:
    states = {key: part.state_dict() for key, part in parts.items()}
    with whole_file(file) as part:
        torch.save({"done": done, "seconds": seconds, "parts": states}, part)


def _restore(file: Path, parts: Mapping[str, Stateful]) -> tuple[int, float]:
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(saved["parts"][key])
        return int(saved["done"]), float(saved["seconds"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, ValueError, EOFError, OSError) as error:
        raise CheckpointError(f"cannot resume from {file} ({error}); delete it to start again") from error
