"""A configuration tried on this machine before the first video: loaded, then each kind of a chunk's work, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.devices import HOST, enough_memory, resolve_device
from streamt1.core.errors import StreamT1Error
from streamt1.core.peak import MB, peak_mb, reset_peak
from streamt1.core.weights import all_finite, one_line
from streamt1.families.build import build
from streamt1.families.family import PHASES
from streamt1.placement.chunk_work import ChunkWork, Task
from streamt1.placement.memory_plan import RESERVE, MemoryPlan, planned


@dataclass(frozen=True)
class Step:
    """One kind of work, done.

    Attributes:
        name: of the work.
        note: how much of it.
        seconds: of the last round.
        first: of the first round, where there were two: the first use of a model takes longer.
        peak: bytes, of all rounds: allocated on a CUDA device, else resident in this process.
        planned: bytes that the memory plan says, without its reserve, or of the host where the models run there;
            None where it says nothing.
        finite: whether what came out are finite numbers, and pictures of more than one colour; None where only handles
            did, which the next pass reads.
        per_chunk: how often a chunk of a search needs it.
        problem: what went wrong and what to do, in one sentence; "" where nothing did.
    """

    name: str
    note: str = ""
    seconds: float = 0.0
    first: float | None = None
    peak: float = 0.0
    planned: float | None = None
    finite: bool | None = None
    per_chunk: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Trial:
    """What is tried: the models, files and device that a configuration names."""

    config: RunConfig

    def steps(self) -> Iterator[Step]:
        """Plans, loads, and does each kind of work; ends with the first step that has a problem, and raises nothing."""
        try:
            yield from self._steps()
        except _Ended as ended:
            yield ended.step

    def _steps(self) -> Iterator[Step]:
        step, (config, plan) = _Meter().take(Task("plan", lambda _: _planned(self.config), "planning"))
        if plan is not None:
            yield step
        meter = _Meter(resolve_device(config.device), plan)
        checked = plan is not None
        step, models = meter.take(Task("load", lambda _: build(config, checked), "the models were loaded"))
        yield step
        work = ChunkWork(models, config)
        try:
            for task in work.tasks():
                yield meter.take(task)[0]
        finally:
            work.release()


def _planned(config: RunConfig) -> tuple[RunConfig, MemoryPlan | None]:
    """Raises ``ConfigError`` where it does not fit, or names a device that is not there."""
    if config.threads:
        torch.set_num_threads(config.threads)
    resolve_device(config.device)
    return planned(config)


def chunk_seconds(steps: Sequence[Step]) -> float:
    """About how long a chunk of a search takes late in a video, from the steps of a trial that went well."""
    return sum(step.seconds * step.per_chunk for step in steps)


def _sound(answer: Tensor) -> bool:
    """Finite numbers; of bytes, where NaN has become 0, more than one."""
    return all_finite(answer) if answer.is_floating_point() else bool((answer != answer.flatten()[0]).any())


class _Ended(Exception):  # noqa: N818 (a trial that has its answer)
    def __init__(self, step: Step) -> None:
        self.step = step


@dataclass(frozen=True)
class _Meter:
    """Does tasks and measures them, on a device, beside what a plan says."""

    device: torch.device = HOST
    plan: MemoryPlan | None = None

    def take(self, task: Task) -> tuple[Step, Any]:
        """What it took, and the last answer. Raises ``_Ended`` for a failure, or an answer that is not finite."""
        seconds: list[float] = []
        finite: bool | None = None
        answer, problem = None, ""
        reset_peak(self.device)
        try:
            for turn in range(task.rounds):
                spent, answer = self._round(task.work, task.doing, turn)
                seconds.append(spent)
                if isinstance(answer, Tensor):
                    finite = finite is not False and _sound(answer)
        except StreamT1Error as error:
            problem = str(error).split("\n")[0]
        except Exception as error:  # whatever libraries and drivers raise: finding it is what a trial is for
            problem = f"{type(error).__name__} while {task.doing}: {one_line(error)}; report it with this table"
        if finite is False:
            problem = (
                f"{task.model} answers with NaN, infinity or a single colour: try --set dtype=float32; if that is what"
                " you have, its file is damaged: delete it and run `streamt1 download` again"
            )
        last, first = (seconds or [0.0])[-1], seconds[0] if len(seconds) > 1 else None
        needed = self._planned(task.phase)
        step = Step(task.name, task.note, last, first, self._peak(), needed, finite, task.per_chunk, problem)
        if problem:
            raise _Ended(step)
        return step, answer

    def _round(self, work: Callable[[int], Any], doing: str, turn: int) -> tuple[float, Any]:
        begin = time.perf_counter()
        with enough_memory(doing):
            answer = work(turn)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        return time.perf_counter() - begin, answer

    def _peak(self) -> float:
        with suppress(RuntimeError):  # a device that has failed no longer answers
            return peak_mb(self.device) * MB
        return 0.0

    def _planned(self, phase: str) -> float | None:
        if self.plan is None or phase not in PHASES:
            return None
        return self.plan.in_phase(phase) - RESERVE if self.device.type == "cuda" else self.plan.host_in_phase(phase)
