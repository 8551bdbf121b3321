"""A job as its viewers have it: they come and leave, and it goes on without them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi.concurrency import run_in_threadpool

from streamt1.pipeline.session import Live
from streamt1.server.schemas import Job
from streamt1.server.tape import Reader, Record, Tape


class Session:
    """What is shared by all viewers of one job.

    Args:
        path: of its tape.

    Attributes:
        live: what is said to a stream without an end while it runs; None for any other job.
        last: the job as it ended, once it has.
        dropped: whether it ended so that nothing of it is wanted any more.
        interrupted: whether the server is being stopped.
    """

    def __init__(self, job: Job, path: Path) -> None:
        self.tape = Tape(path)
        self.live = Live() if job.request.fields.endless else None
        self.last: Job | None = None
        self.dropped = self.interrupted = False
        self._lock, self._viewers, self._left = threading.Lock(), 0, None

    def enter(self) -> None:
        """One more views it."""
        with self._lock:
            self._viewers, self._left = self._viewers + 1, None

    def leave(self) -> None:
        """One less."""
        with self._lock:
            self._viewers -= 1
            self._left = None if self._viewers else time.monotonic()

    def begin(self) -> None:
        """A worker has taken the job: from now on it is alone where nobody views it."""
        with self._lock:
            if not self._viewers and self._left is None:
                self._left = time.monotonic()

    @property
    def viewers(self) -> int:
        """How many view it."""
        return self._viewers

    def alone(self) -> float:
        """Seconds since the last viewer left; 0 where there is one, and where none has been needed yet."""
        with self._lock:
            return 0.0 if self._left is None else time.monotonic() - self._left

    def end(self, job: Job, dropped: bool = False) -> None:
        """Nothing follows but this last word."""
        if self.last is None:
            self.last, self.dropped = job, dropped
            self.tape.wake()

    def interrupt(self) -> None:
        """The server is being stopped: viewers must go."""
        self.interrupted = True
        self.tape.wake()


class Viewer:
    """One client's place in a session. Use it as a context manager, in the loop that sends.

    Args:
        after: the ``id`` of the last message that the client knows; all of them by default.
    """

    def __init__(self, session: Session, after: str | None = None) -> None:
        self.session, self._reader = session, Reader(session.tape, after)
        self._changed, self._loop = asyncio.Event(), asyncio.get_running_loop()

    def __enter__(self) -> Viewer:
        self.session.enter()
        self.session.tape.listen(self._wake)
        return self

    def __exit__(self, *error: object) -> None:
        self.session.tape.unlisten(self._wake)
        self.session.leave()
        self._reader.close()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    @property
    def over(self) -> bool:
        """Whether nothing more is to be sent, however much is there."""
        return self.session.interrupted or self.session.dropped

    async def pause(self, seconds: float) -> None:
        """Waits, unless it is over."""
        end = self._loop.time() + seconds
        while not self.over and (left := end - self._loop.time()) > 0:
            await self._wait(left)

    async def _wait(self, seconds: float | None) -> bool:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        self._changed.clear()
        return True

    async def records(self, quiet: float | None = None) -> AsyncIterator[Record | None]:
        """All that is told, as it is told, to the last word; that itself is not among it.

        Args:
            quiet: seconds without a record after which there is a None.
        """
        while not self.over:
            self._changed.clear()
            ended = self.session.last is not None
            batch = await run_in_threadpool(self._reader.read)
            for record in batch:
                if self.over:
                    return
                yield record
            if not batch and ended:
                return
            if not batch and not await self._wait(quiet):
                yield None
