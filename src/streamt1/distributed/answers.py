"""Answers of one process that are to come, and what is done about one that never does.

A cluster whose machines are overloaded can lose a call or its answer, on a link that was cut for seconds, and say
nothing of it. Calls are answered in the order in which they are made: so one that has waited is followed by a call that
does nothing, and where that is answered first, the other's answer is lost.
"""

from __future__ import annotations

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
        after: that an answer may come later than that of a call made after it: what is large travels apart.
    """

    first: float = 15
    again: float = 15
    after: float = 30


class Answers:
    """Of one process.

    Args:
        ask: makes a call; what comes of it is the process's answer, or ``LinkLostError``. Calls are answered in the
            order in which they are made. It may raise where nothing can be asked any more.
        nothing: makes a call that does nothing.
    """

    def __init__(
        self,
        ask: Callable[..., Answer],
        nothing: Callable[[], Answer],
        patience: Patience = Patience(),
    ) -> None:
        self._ask, self._nothing, self._patience = ask, nothing, patience
        self._changed = threading.Condition()
        self._waiting: dict[int, tuple[Answer, float]] = {}
        self._made, self._ended = 0, False
        self._watcher: threading.Thread | None = None
        self._followed = -float("inf")
        self._overtaken: deque[tuple[int, float]] = deque()

    def call(self, *args: Any) -> Answer:
        """The answer to come, or ``LinkLostError`` where it is lost."""
        answer: Answer = Future()
        reply = self._ask(*args)  # without the lock, which the cluster's own thread takes to bring answers
        with self._changed:
            number, self._made = self._made, self._made + 1
            self._waiting[number] = answer, time.monotonic()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="answers", daemon=True)
                self._watcher.start()
            self._changed.notify()
        reply.add_done_callback(lambda reply: self._settle(number, reply))
        return answer

    def end(self) -> None:
        """Nothing is to be followed any more; what is still to come may come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _settle(self, number: int, reply: Answer) -> None:
        with self._changed:
            answer, _ = self._waiting.pop(number, (None, 0.0))
        if answer is None:
            return
        error = reply.exception()
        if error is None:
            answer.set_result(reply.result())
        else:
            answer.set_exception(error)

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                self._changed.wait(self._pause())
                lost, follow, before = self._lost(), self._late(), self._made
            if follow:
                self._follow(before)
            for answer in lost:
                answer.set_exception(LinkLostError("the answer to a call was lost on its way"))

    def _pause(self) -> float | None:
        """Until there may be something to do; None where nothing is awaited."""
        if not self._waiting:
            return None
        return min(self._patience.first, self._patience.again, self._patience.after) / 4

    def _lost(self) -> list[Answer]:
        """Those that were overtaken, which are not awaited any more."""
        lost: list[Answer] = []
        while self._overtaken and time.monotonic() - self._overtaken[0][1] > self._patience.after:
            before, _ = self._overtaken.popleft()
            numbers = [number for number in self._waiting if number < before]
            lost += [self._waiting.pop(number)[0] for number in numbers]
        return lost

    def _late(self) -> bool:
        """Whether a call has waited so long that it is to be followed."""
        now = time.monotonic()
        since = min((made for _, made in self._waiting.values()), default=now)
        late = now - since > self._patience.first and now - self._followed > self._patience.again
        self._followed = now if late else self._followed
        return late

    def _follow(self, before: int) -> None:
        """Makes a call that does nothing, after all those with a number below this."""
        try:
            reply = self._nothing()
        except Exception:  # there is nobody to ask
            self._overtook(before)
        else:
            reply.add_done_callback(lambda _: self._overtook(before))

    def _overtook(self, before: int) -> None:
        with self._changed:
            self._overtaken.append((before, time.monotonic()))
