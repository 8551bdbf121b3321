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
        name: of the method.
        method: what the name means.
        budget: as the suite names it; ``(1, 1)`` for greedy.
        seconds: length that is asked for.
        index: which run of the prompt this is, 0 first.
        regret_every: see ``Length``.
        video: where its video goes; None for nowhere.
        jobs: processes that share the machine meanwhile, for the record.
    """

    prompt: str
    seed: int
    name: str
    method: Method
    budget: Budget
    seconds: float
    index: int
    regret_every: int = 1
    video: Path | None = None
    jobs: int = 1

    @property
    def key(self) -> tuple[Any, ...]:
        """What no two clips of an evaluation share."""
        return (self.prompt, self.seed, self.name, *self.budget, self.seconds)

    def config(self, base: RunConfig) -> RunConfig:
        """The run's configuration: the base with this method at this budget. Raises ``ConfigError``."""
        beam_size, top_k = self.budget
        changes = {**self.method.search, "beam_size": beam_size, "top_k": top_k}
        keys = base.model_dump(include={"search"})["search"]
        search = type(base.search)(**{**keys, **changes})
        return base.model_copy(update={"policy": self.method.policy, "search": search})


def row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    """The key of a clip's row, equal to its task's."""
    return tuple(row[name] for name in ("prompt", "seed", "method", "beam_size", "top_k", "length"))


def plan(suite: Suite) -> list[ClipTask]:
    """All clips of a suite; those that are compared with one another stand together. No key comes twice."""
    tasks = {task.key: task for length in suite.lengths for task in _of_length(suite, length)}
    return list(tasks.values())


def _of_length(suite: Suite, length: Length) -> Iterator[ClipTask]:
    for index in range(length.seeds):
        for place, prompt in enumerate(suite.texts(length.prompts)):
            seed = suite.seed + SEED_STEP * index + place
            for name, budget in _combinations(suite, length):
                yield ClipTask(
                    prompt, seed, name, suite.method(name), budget, length.seconds, index, length.regret_every
                )


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
