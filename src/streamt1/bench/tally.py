"""What travels to devices and back, by kind."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import Future
from threading import Lock
from typing import Any

from streamt1.distributed.jobs import Bring, Denoise, Score
from streamt1.distributed.recipes import Sent, Shown
from streamt1.distributed.seats import Link
from streamt1.distributed.worker import Reply, Request

KINDS = ("noise", "latents", "frames", "rest")


class Tally:
    """Bytes by kind, and requests. Links write from any thread.

    Attributes:
        bytes: of tensors, noise, latents or frames; and of all else that is pickled.
        requests: so far.
    """

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter()
        self.requests, self._lock = 0, Lock()

    def sent(self, request: Request) -> None:
        counted = Counter({"latents": sum(sent.tensor.nbytes for sent in request.parcels.values())})
        for job in request.jobs:
            if isinstance(job, Denoise):
                counted["noise"] += job.x.tensor.nbytes
                counted["noise"] += job.noise.tensor.nbytes if isinstance(job.noise, Sent) else 0
            elif isinstance(job, Score):
                counted["frames"] += sum(piece.sent.tensor.nbytes for piece in job.pieces if piece.sent)
        counted["frames"] += sum(call.frames.tensor.nbytes for _, call in request.makes if isinstance(call, Shown))
        self._add(counted, request, 1)

    def received(self, request: Request, reply: Reply) -> None:
        counted: Counter[str] = Counter()
        for job, answer in zip(request.jobs, reply.answers):
            if isinstance(job, Denoise):
                counted["latents"] += sum(sent.tensor.nbytes for sent in answer if sent is not None)
            elif isinstance(job, Bring):
                counted["frames"] += answer.tensor.nbytes
        self._add(counted, reply, 0)

    def _add(self, counted: Counter[str], message: Any, requests: int) -> None:
        rest = len(pickle.dumps(message, protocol=5, buffer_callback=lambda buffer: None))
        with self._lock:
            self.bytes.update({**counted, "rest": rest})
            self.requests += requests


class Counted:
    """Satisfies ``Link``: another one, whose traffic is counted and which stays open for the next fleet."""

    def __init__(self, link: Link, tally: Tally) -> None:
        self._link, self._tally, self.name = link, tally, link.name

    def submit(self, request: Request) -> Future[Reply]:
        self._tally.sent(request)
        answer: Future[Reply] = Future()

        def arrived(done: Future[Reply]) -> None:
            error = done.exception()
            if error is not None:
                answer.set_exception(error)
                return
            self._tally.received(request, done.result())
            answer.set_result(done.result())

        self._link.submit(request).add_done_callback(arrived)
        return answer

    def close(self) -> None:
        return None
