"""Runs many searches on several processes, each with its own models and one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

from streamt1.config.schema import RunConfig
from streamt1.core.errors import DeviceLostError
from streamt1.pipeline.pipeline import Pipeline

T = TypeVar("T")
R = TypeVar("R")

_loaded: list[Pipeline] = []


def load(config: RunConfig) -> int:
    """This process gets its models; in how many bits the rewards are."""
    _loaded[:] = [Pipeline(config)]
    return _loaded[0].config.placement.reward_bits


def _load_as_child(config: RunConfig) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    load(config)


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, killed even: nobody would take its results."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[[Pipeline, Any], Any], key: int, task: Any) -> tuple[int, Any]:
    return key, work(_loaded[0], task)


@dataclass
class Pool:
    """Applies functions ``work(pipeline, task) -> result`` to tasks. Functions, tasks and results must be picklable."""

    config: RunConfig
    jobs: int
    executor: Executor | None
    own: Pipeline | None = field(default=None)

    def run(self, work: Callable[[Pipeline, T], R], tasks: Iterable[T]) -> Iterator[tuple[int, R]]:
        """(index of the task, its result) as they are done, in any order. What a task raises is raised here.

        Raises ``DeviceLostError`` once all others are done, where some could not be.
        """
        tasks, lost = list(tasks), dict[int, DeviceLostError]()
        if self.executor is None:
            self.own = self.own or Pipeline(self.config)
            for key, task in enumerate(tasks):
                try:
                    done = work(self.own, task)
                except DeviceLostError as error:
                    lost[key] = error
                else:
                    yield key, done
            _raise_lost(lost, tasks)
            return
        futures = {self.executor.submit(_call, work, key, task): key for key, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                try:
                    done = future.result()
                except DeviceLostError as error:
                    lost[futures[future]] = error
                else:
                    yield done
        finally:
            for future in futures:
                future.cancel()
        _raise_lost(lost, tasks)

    def map(self, work: Callable[[Pipeline, T], R], tasks: Iterable[T]) -> list[R]:
        """All results, in the order of the tasks."""
        return [result for _, result in sorted(self.run(work, tasks), key=lambda pair: pair[0])]


def _raise_lost(lost: Mapping[int, DeviceLostError], tasks: Sequence[Any]) -> None:
    if lost:
        first = min(lost)
        raise DeviceLostError(
            f"{len(lost)} of {len(tasks)} could not be made; the first is {tasks[first]}: {lost[first]}; look at"
            " the devices' memory and logs, then give the same command again: it makes what is missing"
        )


@contextmanager
def open_pool(config: RunConfig, jobs: int = 1) -> Iterator[Pool]:
    """A pool of ``jobs`` processes; with one job everything runs in this process."""
    if jobs == 1:
        yield Pool(config, 1, None)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _load_as_child, (config,)) as executor:
        yield Pool(config, jobs, executor)
