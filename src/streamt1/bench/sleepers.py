"""Devices whose models sleep: processes on Ray, as a real run has them, or here in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch

from streamt1.bench.sleeping import Clock, sleeping_models
from streamt1.distributed.ray_hosts import Host, ray_hosts
from streamt1.distributed.worker import Reply, Request, Worker

AT_ONCE = 4
"""Processes that start together: each imports torch."""


class Bed:
    """A worker whose models sleep, and its clock."""

    def __init__(self, pace: float, sizes: dict[str, Any]) -> None:
        self._clock = Clock(pace)
        self._worker = Worker(sleeping_models(self._clock, **sizes))

    def answer(self, request: Request) -> Reply:
        self._clock.request()
        return self._worker.answer(request)


_loaded: list[Bed] = []
"""The one of this process, where it is a device's."""


class Sleeper:
    """Satisfies ``Link``: a process on Ray."""

    def __init__(self, host: Host) -> None:
        self._host, self.name = host, host.name

    def load(self, pace: float, **sizes: Any) -> Future[None]:
        """Begins anew, with models of another pace."""
        return self._host.call(_load, pace, sizes)

    def submit(self, request: Request) -> Future[Reply]:
        return self._host.call(_answer, request)

    def close(self) -> None:
        self._host.end()


class LocalSleeper:
    """Satisfies ``Link``: in this process, one after another."""

    def __init__(self, name: str = "here") -> None:
        self.name, self._bed = name, Bed(0, {})

    def load(self, pace: float, **sizes: Any) -> Future[None]:
        self._bed, done = Bed(pace, sizes), Future[None]()
        done.set_result(None)
        return done

    def submit(self, request: Request) -> Future[Reply]:
        answer: Future[Reply] = Future()
        answer.set_result(self._bed.answer(request))
        return answer

    def close(self) -> None:
        return None


@contextmanager
def sleepers(count: int) -> Iterator[Sequence[Sleeper]]:
    """So many processes on a Ray that is started for the block, a few at a time. Raises what ``ray_hosts`` raises."""
    with ray_hosts(count, None, "cpu") as hosts:
        links: list[Sleeper] = []
        for first in range(0, count, AT_ONCE):
            new = [Sleeper(hosts.start(place)) for place in range(first, min(first + AT_ONCE, count))]
            for link in new:
                link.load(0).result()
            links += new
        yield links


def _load(pace: float, sizes: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    _loaded[:] = [Bed(pace, sizes)]


def _answer(request: Request) -> Reply:
    return _loaded[0].answer(request)
