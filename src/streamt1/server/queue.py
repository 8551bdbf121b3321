"""The queue: takes jobs up to a bound, hands them to workers, and stops what is no longer wanted."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streamt1.core.errors import BusyError, DiskFullError, QuotaError, UnknownVideoError
from streamt1.core.files import bytes_in, check_writable, free_bytes, write_whole
from streamt1.pipeline.session import Live
from streamt1.search.watcher import Watcher
from streamt1.server.job_store import DAY, JobStore, Once
from streamt1.server.keys import KeyFile
from streamt1.server.limits import Limits
from streamt1.server.schemas import CheckedRequest, Job, is_id

log = logging.getLogger("streamt1.server")
LOST = "lost"
"""Folder beside that of the videos, for those that the database does not know."""
Reason = Literal["deleted", "left", "closing"]
PICTURE = ".picture"
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
        keys: who have limits of their own.
        refused: requests that were turned away because the queue was full.
    """

    store: JobStore
    folder: Path
    limits: Limits = field(default_factory=Limits)
    keys: KeyFile | None = None
    refused: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _watchers: dict[str, JobWatcher] = field(default_factory=dict)
    _running: dict[str, Running] = field(default_factory=dict)
    _seconds: deque[float] = field(default_factory=lambda: deque([10.0], maxlen=10))
    _closing: bool = False

    def open(self) -> None:
        """Takes up what an earlier server left. Raises ``OutputError`` for a folder that cannot be written.

        The files of jobs that were deleted go; those of videos that the database does not know are put into ``lost``
        beside them, since it may be the database that was lost.
        """
        check_writable(self.folder, keep=True)
        self.store.recover()
        for name in self.store.gone():
            self._clear(name)
        known, lost = self.store.names(), self.folder.parent / LOST
        strange = [path for path in self.folder.iterdir() if _owner(path) and _owner(path) not in known]
        for path in strange:
            lost.mkdir(exist_ok=True)
            path.rename(lost / path.name)
        if strange:
            log.warning(
                "%d videos in %s are not in %s: they are now in %s, whole; nothing was deleted",
                len({_owner(path) for path in strange}), self.folder, self.store.path, lost,
            )  # fmt: skip

    def _clear(self, name: str) -> None:
        """Deletes the files of a job that is deleted."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self._drop_picture(name)
        if not (self.folder / name).exists():
            self.store.cleared(name)

    def sweep(self) -> list[str]:
        """Deletes the videos that are no longer to be kept, and says which."""
        limits, gone = self.limits, list[str]()
        if limits.keep is not None:
            gone += self.store.done(time.time() - limits.keep)
        if limits.keep_bytes is not None:
            left = [name for name in self.store.done() if name not in gone]
            sizes = {name: bytes_in(self.folder / name) for name in left}
            over = sum(sizes.values()) - limits.keep_bytes
            for name in left:
                if over <= 0:
                    break
                gone.append(name)
                over -= sizes[name]
        for name in gone:
            with suppress(UnknownVideoError):
                self.delete(name)
        if gone:
            log.info("%d videos were no longer to be kept, and are deleted: %s", len(gone), " ".join(gone))
        return gone

    def free(self) -> int:
        """Bytes that are free on the disk of the videos. Raises ``OutputError``."""
        return free_bytes(self.folder)

    def submit(self, request: CheckedRequest, watcher: JobWatcher | None = None, once: Once | None = None) -> Job:
        """A job at the end of the queue; the one that is there already where the same request is sent ``once`` more.

        Raises:
            BusyError: too many wait already.
            QuotaError: too many of this key do, or it has asked for all that it may in a day.
            DiskFullError: the disk has no room for a video.
            ConflictError: another request had the same key.
        """
        with self._changed:
            known = None if once is None else self.store.known(once)
            if known is not None:
                return known
            self._check_disk()
            self._check_quota(request.owner)
            if self._closing or self.store.count("queued") >= self.limits.waiting:
                self.refused += 1
                wait = self._wait()
                raise BusyError(f"{self.limits.waiting} videos wait already; come back in {wait} seconds", wait)
            job = self._added(request, watcher is not None, once)
            if watcher is not None:
                self._watchers[job.id] = watcher
            self._changed.notify()
            return job

    def limits_of(self, owner: str | None) -> Limits:
        """Those of a key; the server's for the operator."""
        return self.limits if self.keys is None or owner is None else self.keys.limits(owner)

    def _check_quota(self, owner: str | None) -> None:
        """Raises ``QuotaError`` where a key has asked for all that it may."""
        if owner is None:
            return
        limits, asked = self.limits_of(owner), self.store.asked(owner)
        if self.store.count("queued", owner) >= limits.waiting:
            wait = self._wait()
            raise QuotaError(f"{limits.waiting} videos of this key wait already; come back in {wait} seconds", wait)
        if limits.daily is not None and len(asked) >= limits.daily:
            wait = max(1, asked[-limits.daily] + DAY - int(time.time()))
            raise QuotaError(
                f"this key may ask for {limits.daily} videos in 24 hours; come back in {wait} seconds", wait
            )

    def _check_disk(self) -> None:
        free = self.free()
        if free < self.limits.free:
            raise DiskFullError(
                f"the server's disk has {free / 1e6:.0f} MB free and takes no videos below"
                f" {self.limits.free / 1e6:.0f} MB: videos that are no longer needed can be deleted"
            )

    def _added(self, request: CheckedRequest, stream: bool, once: Once | None) -> Job:
        job = self.store.add(request, stream, once)
        if request.picture is not None:
            try:
                write_whole(self.picture_of(job), request.picture, durable=True)
            except BaseException:
                self.store.undo(job.id)
                raise
        return job

    def get(self, name: str) -> Job:
        """Raises ``UnknownVideoError``."""
        return self.store.get(_known(name))

    def check_owner(self, name: str, owner: str | None) -> None:
        """Raises ``UnknownVideoError`` for a video that is another's, as for one that is not there."""
        if owner is not None and self.get(name).request.owner != owner:
            raise UnknownVideoError(f"there is no video {name!r}")

    def page(self, limit: int, after: str | None, order: Literal["asc", "desc"], owner: str | None = None) -> list[Job]:
        """See ``JobStore.page``."""
        return self.store.page(limit, None if after is None else _known(after), order, owner)

    def folder_of(self, job: Job) -> Path:
        """Where its files are, or will be."""
        return self.folder / job.id

    def picture_of(self, job: Job) -> Path:
        """Where the picture is that its video begins with, until the job is done."""
        return self._picture(job.id)

    def _picture(self, name: str) -> Path:
        return self.folder / f"{name}{PICTURE}"

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
        self._clear(job.id)

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
        if running.stop == "deleted":
            self._clear(running.job.id)
        elif running.stop != "closing":
            self._drop_picture(running.job.id)

    def _drop_picture(self, name: str) -> None:
        with suppress(OSError):
            self._picture(name).unlink(missing_ok=True)

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


def _known(name: str) -> str:
    """Raises ``UnknownVideoError`` for what can be no job's name: it never meets the database."""
    if not is_id(name):
        raise UnknownVideoError(f"there is no video {name[:60]!r}")
    return name


def _owner(path: Path) -> str | None:
    """The job that a folder or a picture belongs to; None for what is no job's."""
    name = path.stem if path.suffix == PICTURE else path.name
    return name if is_id(name) else None
