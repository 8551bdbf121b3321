"""The queue: takes jobs up to a bound, hands them to workers, and stops what is no longer wanted."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streamt1.core.errors import BusyError, UnknownVideoError
from streamt1.core.files import check_writable
from streamt1.pipeline.session import Live
from streamt1.search.watcher import Watcher
from streamt1.server.job_store import JobStore
from streamt1.server.limits import Limits
from streamt1.server.schemas import CheckedRequest, Job, is_id

Reason = Literal["deleted", "left", "closing"]
LONGEST_WAIT = 120
"""Seconds; a client is never asked to stay away longer."""


class JobWatcher(Watcher):
    """Sees a job's search, from the worker's thread, and hears its end; the default hears nothing.

    Attributes:
        live: what the client says while its stream without an end runs; None where nobody does.
    """

    live: Live | None = None

    def ended(self, job: Job) -> None:
        """The job is completed or failed; nothing follows."""


@dataclass(eq=False)
class Running:
    """A job in a worker's hands.

    Attributes:
        stop: why it must end, None as long as it may go on.
        begun: whether it has its devices, and its attempt counts.
    """

    job: Job
    watcher: JobWatcher
    stop: Reason | None = None
    begun: bool = False


@dataclass
class JobQueue:
    """Requests in, jobs out. Every method may be called from any thread.

    Attributes:
        store: where jobs are kept.
        folder: where videos are kept, a folder each.
        refused: requests that were turned away because the queue was full.
    """

    store: JobStore
    folder: Path
    limits: Limits = field(default_factory=Limits)
    refused: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _watchers: dict[str, JobWatcher] = field(default_factory=dict)
    _running: dict[str, Running] = field(default_factory=dict)
    _seconds: deque[float] = field(default_factory=lambda: deque([10.0], maxlen=10))
    _closing: bool = False

    def open(self) -> None:
        """Takes up what an earlier server left. Raises ``OutputError`` for a folder that cannot be written."""
        check_writable(self.folder, keep=True)
        self.store.recover()
        known = self.store.names()
        for path in self.folder.iterdir():
            if is_id(path.name) and path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def submit(self, request: CheckedRequest, watcher: JobWatcher | None = None) -> Job:
        """A job at the end of the queue. Raises ``BusyError`` where too many wait already."""
        with self._changed:
            if self._closing or self.store.count("queued") >= self.limits.waiting:
                self.refused += 1
                wait = self._wait()
                raise BusyError(f"{self.limits.waiting} videos wait already; come back in {wait} seconds", wait)
            job = self.store.add(request, watcher is not None)
            if watcher is not None:
                self._watchers[job.id] = watcher
            self._changed.notify()
            return job

    def get(self, name: str) -> Job:
        """Raises ``UnknownVideoError``."""
        if not is_id(name):
            raise UnknownVideoError(f"there is no video {name[:60]!r}")
        return self.store.get(name)

    def folder_of(self, job: Job) -> Path:
        """Where its files are, or will be."""
        return self.folder / job.id

    def delete(self, name: str) -> None:
        """Forgets a job and its files; one that runs stops within a chunk. Raises ``UnknownVideoError``."""
        with self._changed:
            job = self.get(name)
            self.store.delete(job.id)
            watcher = self._watchers.pop(job.id, None)
            if watcher is not None:
                watcher.ended(job.deleted())
            if job.id in self._running:
                self._running[job.id].stop = "deleted"
                return
        shutil.rmtree(self.folder_of(job), ignore_errors=True)

    def leave(self, name: str) -> None:
        """Nobody listens to a stream any more: it ends, and its files with it. A job that is done stays."""
        with self._changed:
            self._watchers.pop(name, None)
            if name in self._running:
                self._running[name].stop = "left"
            else:
                self.store.withdraw(name, "cancelled", "the client closed the stream while it waited")

    def take(self) -> Running | None:
        """Waits for a job; None when the queue closes."""
        with self._changed:
            while not self._closing:
                job = self.store.claim()
                if job is not None:
                    running = Running(job, self._watchers.pop(job.id, None) or JobWatcher())
                    self._running[job.id] = running
                    return running
                self._changed.wait()
            return None

    def begin(self, running: Running) -> None:
        """A worker has the devices for a job; one that waits for them loses nothing where the server goes down."""
        self.store.begin(running.job.id)
        running.begun = True

    def put_back(self, running: Running, seconds: float | None = None) -> None:
        """A worker is done with a job; ``seconds`` is what a whole video took."""
        with self._changed:
            self._running.pop(running.job.id, None)
            if seconds is not None:
                self._seconds.append(seconds)

    def waiting(self) -> int:
        """Jobs in the queue."""
        return self.store.count("queued")

    def at_work(self) -> list[str]:
        """Jobs in workers' hands."""
        with self._changed:
            return list(self._running)

    def close(self) -> None:
        """No more jobs; those that run are stopped and wait for the next start."""
        with self._changed:
            self._closing = True
            for running in self._running.values():
                running.stop = running.stop or "closing"
            self._changed.notify_all()

    def _wait(self) -> int:
        """Seconds until a place is likely to be free: as long as a video has taken lately."""
        return max(1, min(LONGEST_WAIT, round(sum(self._seconds) / len(self._seconds))))
