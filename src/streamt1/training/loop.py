"""The loop that every training stage runs in: a budget, checkpoints that resume, and a log.

A step draws its randomness from (seed, step), and checkpoints hold all else, so that a resumed run continues as an
uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamt1.core.errors import Cancelled, ConfigError, OutputError
from streamt1.core.stopping import Stop
from streamt1.training.checkpoint import Standing, Stateful, restore, save, seed_generators
from streamt1.training.journal import Journal

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
        save_every: seconds from one checkpoint to the next.
        stop: ends the stage early, between two steps.
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
    save_every: float = 60.0
    stop: Stop = field(default_factory=Stop)

    @property
    def rate(self) -> float:
        """Factor of the learning rate."""
        return WARM_RATE if self.warm else 1.0


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
    log_every: int = 50,
    after: Mapping[str, int] | None = None,
) -> Progress:
    """Calls `step` until the budget is used; returns where the run ended.

    Every `save_every` seconds, and at the end, the state of all `parts` goes to `<out>/<name>.pt`; every `log_every`
    steps the mean of what `step` returned goes to `<out>/<name>.jsonl` and, as a line, to `options.log`. Seconds count
    over resumed runs.

    Args:
        after: steps of the phases that this one is built on, by name. With other ones its checkpoint is not gone on
            with, since it holds what came of the earlier ones.

    Raises:
        ConfigError: there is no budget, or the checkpoint was made with other settings. The budget may differ.
        CheckpointError: the checkpoint is damaged.
        OutputError: the folder cannot be written.
        Cancelled: `options.stop` was asked; the checkpoint is saved.
    """
    if options.minutes is None and options.steps is None:
        raise ConfigError(f"training '{name}' needs a budget: set minutes, steps, or both")
    _make_folder(options.out)
    with options.stop.held():
        return _Loop(options, name, parts, after or {}).run(step, log_every)


class _Loop:
    def __init__(
        self, options: TrainOptions, name: str, parts: Mapping[str, Stateful], after: Mapping[str, int]
    ) -> None:
        self.options, self.name, self.parts = options, name, parts
        self.file = options.out / f"{name}.pt"
        self.settings = {key: getattr(options, key) for key in ("seed", "batch", "warm", "reward_weight")}
        self.settings |= {f"steps of {phase} before": steps for phase, steps in after.items()}
        resumed = options.resume and self.file.is_file()
        seed_generators(options.seed)
        self.at = restore(self.file, parts, self.settings, options.device) if resumed else Standing()
        self.journal = Journal(options.out / f"{name}.jsonl", self.at.done)
        self.begun, self.before = time.monotonic(), self.at.seconds

    def run(self, step: Callable[[Progress], dict[str, float]], log_every: int) -> Progress:
        saved, stop = (self.at.done, self.begun), self.options.stop
        while True:
            now = time.monotonic()
            self.at.seconds = self.before + now - self.begun
            progress = _progress(self.options, self.at.done, self.at.seconds)
            ending = progress.share >= 1 or stop.signal is not None
            if self.at.done > saved[0] and (ending or now - saved[1] > self.options.save_every):
                save(self.file, self.parts, self.at, self.settings, self.options.device)
                saved = self.at.done, now
            if progress.share >= 1:
                return progress
            if stop.signal is not None:
                raise Cancelled(self._stopped())
            self._make(step, progress)
            if self.at.done % log_every == 0:
                self._report()

    def _make(self, step: Callable[[Progress], dict[str, float]], progress: Progress) -> None:
        try:
            values = step(progress)
        except Exception as error:
            if self.options.stop.signal is None:
                raise
            raise Cancelled(f"stopped by {self.options.stop.name} within a step of '{self.name}'") from error
        for key, value in values.items():
            self.at.sums[key] = self.at.sums.get(key, 0.0) + value
        self.at.done, self.at.counted = self.at.done + 1, self.at.counted + 1

    def _report(self) -> None:
        seconds = self.before + time.monotonic() - self.begun
        means = {key: value / self.at.counted for key, value in self.at.sums.items()}
        record: dict[str, Any] = {"stage": self.name, "step": self.at.done, "seconds": round(seconds, 1)}
        self.journal.write({**record, **{key: round(value, 6) for key, value in means.items()}})
        said = " ".join(f"{key} {value:.4f}" for key, value in means.items())
        self.options.log(f"{self.name} step {self.at.done} {seconds:.0f}s {said}")
        self.at.sums, self.at.counted = {}, 0

    def _stopped(self) -> str:
        where = f"is saved after {self.at.done} steps in {self.file}" if self.at.done else "had not begun"
        return f"stopped by {self.options.stop.name}: '{self.name}' {where}; the same command goes on from there"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def _progress(options: TrainOptions, done: int, seconds: float) -> Progress:
    by_time = seconds / (options.minutes * 60) if options.minutes else float(options.minutes is not None)
    by_steps = done / options.steps if options.steps else float(options.steps is not None)
    return Progress(done, min(1.0, max(by_time, by_steps)))
