"""Runs an evaluation's work on the processes of a cluster, one piece at a time on each; one that ends is replaced."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, ParamSpec, Protocol, TypeVar

from streamt1.config.schema import RunConfig
from streamt1.core.errors import DeviceLostError, warn
from streamt1.distributed.devices import check_same, introduced
from streamt1.distributed.ray_hosts import ray_hosts
from streamt1.distributed.seats import ATTEMPTS, PATIENCE, LinkLostError
from streamt1.evaluation.pool import Pool, load
from streamt1.evaluation.runner import OpenPool

P = ParamSpec("P")
R = TypeVar("R")

SPOILT = 10
"""Processes of one place that end with nothing done, one after another, before the place is given up."""
PARTING = 10.0
"""Seconds that the threads of an executor may take to end."""


class Process(Protocol):
    """See ``distributed.ray_hosts.Host``."""

    name: str

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]: ...

    def end(self) -> None: ...


class Places(Protocol):
    """See ``distributed.ray_hosts.Hosts``."""

    count: int

    def start(self, place: int) -> Process: ...


@dataclass(eq=False)
class _Work:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    answer: Future[Any]
    lost: int = 0


class HostExecutor(Executor):
    """Gives work to whichever process is idle. What a process was doing when it ended is done again on another.

    Work that ends ``ATTEMPTS`` processes has a ``DeviceLostError`` as its outcome, and so has all of it where no place
    is left. What the first call of a process raises ends all work with it.

    Args:
        places: where processes are started, one in each.
        first: the function and arguments of every process's first call.
        check: compares what the very first process answered with what another did; raises where they do not fit.
    """

    def __init__(
        self,
        places: Places,
        first: tuple[Callable[..., Any], tuple[Any, ...]],
        check: Callable[[list[Any]], None] = lambda told: None,
    ) -> None:
        self._places, self._first, self._check = places, first, check
        self._changed, self._waiting = Condition(), deque[_Work]()
        self._there: dict[int, Process] = {}
        self._told: list[Any] = []
        self._error: Exception | None = None
        self._left, self._closed = places.count, False
        self._threads = [Thread(target=self._serve, args=(place,), daemon=True) for place in range(places.count)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        assert not kwargs, "a host's functions take no keywords"
        work = _Work(fn, tuple(args), Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor is shut down")
            self._waiting.append(work)
            self._give_up_if_broken()
            self._changed.notify()
        return work.answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends all processes at once, whatever they do; what is not done is cancelled."""
        with self._changed:
            self._closed = True
            there, waiting = list(self._there.values()), list(self._waiting)
            self._there.clear()
            self._waiting.clear()
            self._changed.notify_all()
        for process in there:
            process.end()
        for work in waiting:
            if not work.answer.cancel():
                work.answer.set_exception(DeviceLostError("the evaluation was ended"))
        if wait:
            for thread in self._threads:
                thread.join(PARTING)

    def _serve(self, place: int) -> None:
        """One place: a process there, and another when it has ended, until no more is to be done."""
        spoilt, why = 0, f"its process did not come within {PATIENCE:g} seconds"
        try:
            while spoilt < SPOILT and (process := self._started(place)) is not None:
                done = 0
                try:
                    ready = process.call(self._first[0], *self._first[1])
                    if not wait_for([ready], PATIENCE).done:
                        break
                    self._admit(ready.result())
                    while (work := self._next()) is not None:
                        self._do(process, work)
                        done += 1
                except LinkLostError as error:
                    spoilt, why = (1 if done else spoilt + 1), f"{process.name} is lost ({error})"
                    if not self._closed:
                        warn(f"{why}; what it did is done again")
                finally:
                    self._end(place, process)
            self._leave(why)
        except Exception as error:
            self._break(error)

    def _started(self, place: int) -> Process | None:
        with self._changed:
            if self._closed or self._error is not None:
                return None
            self._there[place] = self._places.start(place)
            return self._there[place]

    def _end(self, place: int, process: Process) -> None:
        with self._changed:
            there = self._there.get(place) is process
            if there:
                del self._there[place]
        if there:
            process.end()

    def _admit(self, told: Any) -> None:
        """A process is there. Raises what ``check`` does."""
        with self._changed:
            if self._told:
                self._check([self._told[0], told])
            else:
                self._told.append(told)

    def _next(self) -> _Work | None:
        """Waits for work; None where no more is to be done."""
        with self._changed:
            while not self._closed and self._error is None:
                while self._waiting:
                    work = self._waiting.popleft()
                    if work.lost or work.answer.set_running_or_notify_cancel():
                        return work
                self._changed.wait()
            return None

    def _do(self, process: Process, work: _Work) -> None:
        """Raises ``LinkLostError``; then the work waits again, or is given up."""
        try:
            result = process.call(work.function, *work.args).result()
        except LinkLostError as error:
            with self._changed:
                work.lost += 1
                if work.lost < ATTEMPTS and not self._closed:
                    self._waiting.appendleft(work)
                    self._give_up_if_broken()
                    self._changed.notify()
                else:
                    told = f"it ended {work.lost} processes one after another ({error})"
                    work.answer.set_exception(DeviceLostError(told))
            raise
        except Exception as error:
            work.answer.set_exception(error)
        else:
            work.answer.set_result(result)

    def _leave(self, why: str) -> None:
        """A place is given up, or not needed any more."""
        with self._changed:
            self._left -= 1
            if self._left == 0 and not self._closed:
                self._error = self._error or DeviceLostError(f"no device is left: {why}")
                self._give_up_if_broken()

    def _break(self, error: Exception) -> None:
        with self._changed:
            self._error = self._error or error
            self._give_up_if_broken()
            self._changed.notify_all()

    def _give_up_if_broken(self) -> None:
        while self._error is not None and self._waiting:
            work = self._waiting.popleft()
            if work.lost or work.answer.set_running_or_notify_cancel():
                work.answer.set_exception(self._error)


def begin(config: RunConfig) -> dict[str, Any]:
    """A process of a cluster loads its models. Says what it is, see ``distributed.devices.introduced``."""
    return introduced(config, lambda: load(config))


@contextmanager
def spread(config: RunConfig, count: int | None, address: str | None) -> Iterator[tuple[RunConfig, int, OpenPool]]:
    """The configuration as the devices of a cluster have it, how many there are, and what opens a pool on them.

    Args:
        count, address: see ``distributed.devices.devices``.

    Raises:
        MissingExtraError, ConfigError: see ``ray_hosts``.
    """
    with ray_hosts(count, address, config.device) as hosts:

        @contextmanager
        def opener(config: RunConfig, jobs: int) -> Iterator[Pool]:
            with HostExecutor(hosts, (begin, (config,)), check_same) as executor:
                yield Pool(config, jobs, executor)

        yield config.model_copy(update={"device": hosts.device}), hosts.count, opener
