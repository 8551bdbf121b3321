"""From a suite to the clips that it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamt1.config.schema import RunConfig
from streamt1.evaluation.suites import Budget, Length, Method, Suite

SEED_STEP = 100_000
"""Between the runs of one prompt; prompts of one run take consecutive seeds."""


@dataclass(frozen=True)
class ClipTask:
    """One clip to make and to measure.

    Attributes:
        scenes: the prompts of its scenes, first to last; one for a plain prompt.
        pattern: see ``Length.scenes``.
        name: of the method.
        method: what the name means.
        budget: as the suite names it; ``(1, 1)`` for greedy.
        seconds: length that is asked for, of each scene.
        index: which run of the prompt this is, 0 first.
        regret_every: see ``Length``.
        video: where its video goes; None for nowhere.
        jobs: processes that share the machine meanwhile, for the record.
    """

    scenes: tuple[str, ...]
    seed: int
    name: str
    method: Method
    budget: Budget
    seconds: float
    index: int
    pattern: str = "A"
    regret_every: int = 1
    video: Path | None = None
    jobs: int = 1

    def __str__(self) -> str:
        beam_size, top_k = self.budget
        return f"the clip of {self.prompt!r} by {self.name}, {beam_size}x{top_k}, {self.length:g} s, seed {self.seed}"

    @property
    def prompt(self) -> str:
        """The prompts of its scenes in one line; names the clip."""
        return " / ".join(self.scenes)

    @property
    def length(self) -> float:
        """Seconds of the whole clip."""
        return self.seconds * len(self.scenes)

    @property
    def key(self) -> tuple[Any, ...]:
        """What no two clips of an evaluation share."""
        return (self.prompt, self.seed, self.name, *self.budget, self.length, self.pattern)

    def config(self, base: RunConfig) -> RunConfig:
        """The run's configuration: the base with this method at this budget. Raises ``ConfigError``."""
        beam_size, top_k = self.budget
        changes = {**self.method.search, "beam_size": beam_size, "top_k": top_k}
        keys = base.model_dump(include={"search", "memory"})
        search = type(base.search)(**{**keys["search"], **changes})
        memory = type(base.memory)(**{**keys["memory"], **self.method.memory})
        return base.model_copy(update={"policy": self.method.policy, "search": search, "memory": memory})


def row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    """The key of a clip's row, equal to its task's."""
    named = tuple(row[name] for name in ("prompt", "seed", "method", "beam_size", "top_k", "length"))
    return (*named, row.get("scenes", "A"))


def plan(suite: Suite) -> list[ClipTask]:
    """All clips of a suite; those that are compared with one another stand together. No key comes twice."""
    tasks = {task.key: task for length in suite.lengths for task in _of_length(suite, length)}
    return list(tasks.values())


def _of_length(suite: Suite, length: Length) -> Iterator[ClipTask]:
    for index in range(length.seeds):
        for place, scenes in enumerate(suite.scripts(length)):
            seed = suite.seed + SEED_STEP * index + place
            for name, budget in _combinations(suite, length):
                made = name, suite.method(name), budget, length.seconds, index
                yield ClipTask(scenes, seed, *made, length.scenes, length.regret_every)


def _combinations(suite: Suite, length: Length) -> Iterator[tuple[str, Budget]]:
    for name in suite.methods:
        if suite.method(name).policy == "greedy":
            yield name, (1, 1)
            continue
        for budget in length.budgets or suite.budgets:
            yield name, budget
    for name in suite.ablations:
        yield name, suite.ablation_budget
    if suite.ablations:
        yield "stream_t1", suite.ablation_budget
