"""Devices in this process, as far away as any: what they are sent and what they answer is pickled on the way."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from streamt1.core.protocols import Elsewhere, Models
from streamt1.distributed import Fleet, LinkLostError, Reply, Request, Scorers, Worker, remote_models


class LocalLink:
    """Satisfies ``Link``. Answers at once; ``dies_at`` is the request that it does not survive.

    Attributes:
        requests: how many it has had.
        traffic: bytes both ways.
    """

    def __init__(self, models: Models, name: str = "device", dies_at: int | None = None) -> None:
        self.worker, self.name, self.dies_at = Worker(models), name, dies_at
        self.requests, self.traffic, self.closed = 0, 0, False

    def submit(self, request: Request) -> Future[Reply]:
        answer: Future[Reply] = Future()
        if self.dies_at is not None and self.requests >= self.dies_at:
            answer.set_exception(LinkLostError("it was switched off"))
            return answer
        self.requests += 1
        sent = pickle.dumps(request)
        back = pickle.dumps(self.worker.answer(pickle.loads(sent)))
        self.traffic += len(sent) + len(back)
        answer.set_result(pickle.loads(back))
        return answer

    def close(self) -> None:
        self.closed = True


def spread(make: Callable[[], Models], devices: int) -> tuple[Models, list[LocalLink]]:
    """Models on so many devices of their own, and the devices."""
    links = [LocalLink(make(), f"device {place}") for place in range(devices)]
    return remote_models(Fleet(links)), links


ELSEWHERE: Any = Elsewhere()


def generator(models: Models) -> Models:
    """The same models without rewards."""
    return dataclasses.replace(models, frame_reward=ELSEWHERE, clip_reward=ELSEWHERE)


def rewards(models: Models) -> Models:
    """The rewards alone."""
    return Models(ELSEWHERE, ELSEWHERE, models.frame_reward, models.clip_reward)


def spread_apart(
    make: Callable[[], Models], makers: int, scorers: int
) -> tuple[Models, list[LocalLink], list[LocalLink], Scorers]:
    """Models on so many devices without rewards and so many with nothing else, both kinds, and what asks the latter."""
    own = [LocalLink(generator(make()), f"device {place}") for place in range(makers)]
    apart = [LocalLink(rewards(make()), f"reward device {place}") for place in range(scorers)]
    asked = Scorers(apart)
    return remote_models(Fleet(own), asked), own, apart, asked
