"""Answers of one process that are to come, and what is done about one that never does.

A cluster whose machines are overloaded can lose a call or its answer, on a link that was cut for seconds, and say
nothing of it. Calls are answered in the order in which they are made: so one that has waited is followed by a call that
does nothing, and where that is answered first, the other's answer is lost, unless it is known to be on its way.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from streamt1.distributed.seats import LinkLostError

Answer = Future[Any]


@dataclass(frozen=True)
class Patience:
    """Seconds.

    Attributes:
        first: that a call may wait before it is followed by one that does nothing.
        again: from one of those to the next, as it may be lost itself.
        after: that an answer may come later than that of a call made after it.
        arrives: that it may be on its way from then on, where it is known to be: what is large travels apart.
    """

    first: float = 15
    again: float = 15
    after: float = 30
    arrives: float = 300


@dataclass
class Asked:
    """A call that was made.

    Attributes:
        answer: what the process answers, or ``LinkLostError``.
        on_its_way: whether the process is known to have answered.
    """

    answer: Answer
    on_its_way: Callable[[], bool] = lambda: False


@dataclass
class _Waiting:
    answer: Answer
    asked: Asked
    since: float
    overtaken: float = math.inf
    """When a later call had been answered for ``Patience.after`` seconds."""


class Answers:
    """Of one process.

    Args:
        ask: makes a call. Calls are answered in the order in which they are made. It may raise where nothing can be
            asked any more.
        nothing: makes a call that does nothing.
    """

    def __init__(
        self,
        ask: Callable[..., Asked],
        nothing: Callable[[], Asked],
        patience: Patience = Patience(),
    ) -> None:
        self._ask, self._nothing, self._patience = ask, nothing, patience
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting] = {}
        self._made, self._ended = 0, False
        self._watcher: threading.Thread | None = None
        self._followed = -float("inf")
        self._overtaken: deque[tuple[int, float]] = deque()

    def call(self, *args: Any) -> Answer:
        """The answer to come, or ``LinkLostError`` where it is lost."""
        answer: Answer = Future()
        asked = self._ask(*args)  # without the lock, which the cluster's own thread takes to bring answers
        with self._changed:
            number, self._made = self._made, self._made + 1
            self._waiting[number] = _Waiting(answer, asked, time.monotonic())
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="answers", daemon=True)
                self._watcher.start()
            self._changed.notify()
        asked.answer.add_done_callback(lambda reply: self._settle(number, reply))
        return answer

    def end(self) -> None:
        """Nothing is to be followed any more; what is still to come may come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _settle(self, number: int, reply: Answer) -> None:
        with self._changed:
            waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        error = reply.exception()
        if error is None:
            waiting.answer.set_result(reply.result())
        else:
            waiting.answer.set_exception(error)

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                self._changed.wait(self._pause())
                overtaken, follow, before = self._overdue(), self._late(), self._made
            if follow:
                self._follow(before)
            for number, waiting in overtaken.items():
                late = time.monotonic() - waiting.overtaken > self._patience.arrives
                if late or not waiting.asked.on_its_way():  # asked without the lock, as above
                    lost: Answer = Future()
                    lost.set_exception(LinkLostError("the answer to a call was lost on its way"))
                    self._settle(number, lost)

    def _pause(self) -> float | None:
        """Until there may be something to do; None where nothing is awaited."""
        if not self._waiting:
            return None
        return min(self._patience.first, self._patience.again, self._patience.after) / 4

    def _overdue(self) -> dict[int, _Waiting]:
        """Those that were overtaken, by their numbers."""
        now = time.monotonic()
        while self._overtaken and now - self._overtaken[0][1] > self._patience.after:
            before, _ = self._overtaken.popleft()
            for number, waiting in self._waiting.items():
                if number < before:
                    waiting.overtaken = min(waiting.overtaken, now)
        return {number: waiting for number, waiting in self._waiting.items() if waiting.overtaken <= now}

    def _late(self) -> bool:
        """Whether a call has waited so long that it is to be followed."""
        now = time.monotonic()
        since = min((waiting.since for waiting in self._waiting.values()), default=now)
        late = now - since > self._patience.first and now - self._followed > self._patience.again
        self._followed = now if late else self._followed
        return late

    def _follow(self, before: int) -> None:
        """Makes a call that does nothing, after all those with a number below this."""
        try:
            asked = self._nothing()
        except Exception:  # there is nobody to ask
            self._overtook(before)
        else:
            asked.answer.add_done_callback(lambda _: self._overtook(before))

    def _overtook(self, before: int) -> None:
        with self._changed:
            self._overtaken.append((before, time.monotonic()))
