"""The queue: takes jobs up to a bound, hands them to workers, and stops what is no longer wanted."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streamt1.core.errors import (
    BusyError,
    ConflictError,
    DiskFullError,
    QuotaError,
    UnknownVideoError,
)
from streamt1.core.files import write_whole
from streamt1.server import troubles
from streamt1.server.job_store import DAY, JobStore, Once
from streamt1.server.keys import KeyFile
from streamt1.server.limits import Limits
from streamt1.server.schemas import CheckedRequest, Job, checked_id, new_id
from streamt1.server.sessions import Session
from streamt1.server.troubles import Troubles
from streamt1.server.video_files import PICTURE, TAPE, VideoFiles

log = logging.getLogger("streamt1.server")
Reason = Literal["deleted", "cancelled", "closing", "trouble"]
ASKED = "somebody asked for it to be stopped"
"""Why a job is cancelled."""
LONGEST_WAIT = 120
"""Seconds; a client is never asked to stay away longer."""


@dataclass(eq=False)
class Running:
    """A job in a worker's hands.

    Attributes:
        stop: why it must end, None as long as it may go on.
        begun: whether it has its devices, and its attempt counts.
        furthest: the last chunk that was made of it.
    """

    job: Job
    session: Session
    stop: Reason | None = None
    begun: bool = False
    furthest: int = -1


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
    _sessions: dict[str, Session] = field(default_factory=dict)
    _running: dict[str, Running] = field(default_factory=dict)
    _seconds: deque[float] = field(default_factory=lambda: deque([10.0], maxlen=10))
    _troubles: Troubles = field(default_factory=Troubles)
    _closing: bool = False

    def __post_init__(self) -> None:
        self.files = VideoFiles(self.store, self.folder)

    def open(self) -> None:
        """Takes up what an earlier server left; see ``VideoFiles.take_up``. Raises as that does."""
        self.store.keep_reserve()
        self.store.recover()
        self.files.take_up()

    def sweep(self) -> list[str]:
        """Deletes the videos that are no longer to be kept, and says which."""
        limits, gone = self.limits, list[str]()
        if limits.keep is not None:
            gone += self.store.done(time.time() - limits.keep)
        if limits.keep_bytes is not None:
            left = [name for name in self.store.done() if name not in gone]
            sizes = {name: self.files.bytes_of(name) for name in left}
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
        return self.files.free()

    def submit(self, request: CheckedRequest, stream: bool = False, once: Once | None = None) -> Job:
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
            self.check_room(request.owner)
            job = self._added(request, stream, once)
            self._changed.notify()
            return job

    def check_room(self, owner: str | None) -> None:
        """Raises as ``submit`` does where a video of this owner would not be taken on now."""
        with self._changed:
            self._check_disk()
            self._check_quota(owner)
            if self._closing or self.store.count("queued") >= self.limits.waiting:
                self.refused += 1
                wait = self._wait()
                raise BusyError(f"{self.limits.waiting} videos wait already; come back in {wait} seconds", wait)

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
        name = new_id()
        if request.picture is None:
            return self.store.add(name, request, stream, once)
        write_whole(self.files.beside(name, PICTURE), request.picture, durable=True)  # no job is there without its own
        try:
            return self.store.add(name, request, stream, once)
        except BaseException:
            self.files.drop(name, PICTURE)
            raise

    def get(self, name: str) -> Job:
        """Raises ``UnknownVideoError``."""
        return self.store.get(checked_id(name))

    def check_owner(self, name: str, owner: str | None) -> None:
        """Raises ``UnknownVideoError`` for a video that is another's, as for one that is not there."""
        if owner is not None and self.get(name).request.owner != owner:
            raise UnknownVideoError(f"there is no video {name!r}")

    def page(self, limit: int, after: str | None, order: Literal["asc", "desc"], owner: str | None = None) -> list[Job]:
        """See ``JobStore.page``."""
        return self.store.page(limit, None if after is None else checked_id(after), order, owner)

    def folder_of(self, job: Job) -> Path:
        """Where its files are, or will be."""
        return self.files.of(job.id)

    def picture_of(self, job: Job) -> Path:
        """Where the picture is that its video begins with, until the job is done."""
        return self.files.beside(job.id, PICTURE)

    def session(self, name: str) -> Session:
        """What viewers share of a job. Raises ``UnknownVideoError``."""
        with self._changed:
            job = self.get(name)
            return self._session(job)

    def _session(self, job: Job) -> Session:
        session = self._sessions.get(job.id)
        if session is None:
            session = Session(job, self.files.beside(job.id, TAPE))
            if job.status not in ("queued", "in_progress"):
                session.end(job)  # it is over, and held by its viewers alone
            else:
                self._sessions[job.id] = session
                session.interrupted = self._closing
        return session

    def delete(self, name: str) -> None:
        """Forgets a job and its files; one that runs stops within a chunk. Raises ``UnknownVideoError``."""
        with self._changed:
            job = self.get(name)
            self.store.delete(job.id)
            self._troubles.forget(job.id)
            self._end(job.deleted(), dropped=True)
            if job.id in self._running:
                self._running[job.id].stop = "deleted"
                return
        self.files.clear(job.id)

    def cancel(self, name: str, why: str = ASKED) -> Job:
        """A job is not to be made any further: its row stays, and what of its video is decided.

        Raises:
            UnknownVideoError: there is no such job.
            ConflictError: it is done already.
        """
        with self._changed:
            job = self.get(name)
            if job.status == "cancelled":
                return job
            if not self.store.cancel(job.id, why):
                raise ConflictError(f"{job.id} is {job.status} already: there is nothing to cancel")
            if job.id in self._running:
                self._running[job.id].stop = self._running[job.id].stop or "cancelled"
                return self.get(name)
        self.files.drop(job.id, PICTURE)
        self.files.keep_made(name)  # of a job that waits again; it takes a while
        with self._changed:
            self._troubles.forget(job.id)
            job = self.get(name)
            self._end(job)
            return job

    def mend(self) -> None:
        """Does what could not be done, or noted, when it was to be. Raises ``OutputError``."""
        self.store.keep_reserve()
        self.files.retry()
        with self._changed:
            for name in self.store.strays(list(self._running)):
                log.warning("job %s was in nobody's hands: it waits again", name)
                self._changed.notify_all()
            for name in [one for one in self._sessions if one not in self._running]:
                job = self.get(name)
                if job.status not in ("queued", "in_progress"):
                    self._end(job)

    def end_lonely(self) -> None:
        """Cancels streams without an end that nobody has viewed for as long as one may be left alone."""
        linger = self.limits.linger
        with self._changed:
            alone = [name for name, one in self._sessions.items() if one.live and one.alone() > linger]
        for name in alone:
            with suppress(UnknownVideoError, ConflictError):
                self.cancel(name, f"nobody viewed this stream without an end for {linger:g} seconds")

    def _end(self, job: Job, dropped: bool = False) -> None:
        """The last word to whoever views a job."""
        session = self._sessions.pop(job.id, None)
        if session is not None:
            session.end(job, dropped)

    def ended(self, running: Running) -> None:
        """A worker is done with a job for good, or the server closes."""
        if running.stop == "closing":
            return
        with self._changed, suppress(UnknownVideoError):
            job = self.get(running.job.id)
            if job.status not in ("queued", "in_progress"):  # as where its end could not be noted
                self._end(job)

    def take(self) -> Running | None:
        """Waits for a job, and for room on the disk; None when the queue closes. Raises ``OutputError``."""
        with self._changed:
            while not self._closing:
                if self.free() < self.limits.free:
                    self._changed.wait(troubles.PAUSE)
                    continue
                resting = self._troubles.resting()
                job = self.store.claim(resting)
                if job is not None:
                    running = Running(job, self._session(job))
                    running.session.begin()
                    self._running[job.id] = running
                    return running
                self._changed.wait(min(resting.values(), default=None))
            return None

    def begin(self, running: Running) -> None:
        """A worker has the devices for a job; one that waits for them loses nothing where the server goes down."""
        self.store.begin(running.job.id)
        running.begun = True

    def put_back(self, running: Running, seconds: float | None = None) -> None:
        """A worker is done with a job; ``seconds`` is what a whole video took."""
        with self._changed:
            self.let_go(running)
            if seconds is not None:
                self._seconds.append(seconds)
            self._troubles.forget(running.job.id)
        if running.stop == "deleted":
            self.files.clear(running.job.id)
        elif running.stop != "closing":
            self.files.drop(running.job.id, PICTURE)

    def why_stopped(self, running: Running) -> Reason | None:
        """Also where it is just being stopped: its row is written before this says so."""
        with self._changed:
            return running.stop

    def let_go(self, running: Running) -> None:
        """A job is in nobody's hands any more, however it ended."""
        with self._changed:
            if self._running.get(running.job.id) is running:
                del self._running[running.job.id]

    def advance(self, running: Running, chunk: int, progress: int) -> None:
        """Notes how far a job is: a chunk of it was made. Raises ``OutputError``."""
        running.furthest = max(running.furthest, chunk)
        self.store.advance(running.job.id, progress)

    def again(self, running: Running) -> float | None:
        """A job waits again that the machine could not go on with, and keeps what is made; its viewers stay.

        Returns the seconds until it is tried again; None where it was stopped meanwhile, or has been tried often enough
        without getting further. Raises ``OutputError``.
        """
        with self._changed:
            name = running.job.id
            seconds = self._troubles.met(name, running.furthest)
            if running.stop is not None or seconds is None:
                return None
            running.stop = "trouble"
            self.let_go(running)
            self.store.give_back(name, running.begun)
            self._changed.notify_all()  # whoever waits is to look when it may be tried
            return seconds

    def abandon(self) -> None:
        """A closing server does not wait any longer for its workers: what they hold waits for the next start."""
        with self._changed:
            for running in self._running.values():
                if running.stop == "closing":
                    self.store.give_back(running.job.id, running.begun)

    def waiting(self) -> int:
        """Jobs in the queue."""
        return self.store.count("queued")

    def at_work(self) -> list[str]:
        """Jobs in workers' hands."""
        with self._changed:
            return list(self._running)

    def interrupt(self) -> int:
        """The server is being stopped: viewers are told, and are to go. How many have not gone."""
        with self._changed:
            self._closing, viewers = True, 0
            for session in self._sessions.values():
                session.interrupt()
                viewers += session.viewers
            return viewers

    def close(self) -> None:
        """No more jobs; those that run are stopped and wait for the next start."""
        with self._changed:
            self.interrupt()
            for running in self._running.values():
                running.stop = running.stop or "closing"
            self._changed.notify_all()

    def _wait(self) -> int:
        """Seconds until a place is likely to be free: as long as a video has taken lately."""
        return max(1, min(LONGEST_WAIT, round(sum(self._seconds) / len(self._seconds))))
