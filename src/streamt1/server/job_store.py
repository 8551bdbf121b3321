"""Jobs in SQLite: what waits, what runs, what is done. The table is the queue."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from streamt1.core.errors import ConflictError, UnknownVideoError
from streamt1.server.database import Database, transaction
from streamt1.server.schemas import ID_GLOB, ID_LENGTH, CheckedRequest, Job, Status, VideoRequest, new_id

T = TypeVar("T", str, int)


@dataclass(frozen=True)
class Once:
    """A request that is to be made once: the key that its client chose, and a digest of what it asks for."""

    key: str
    digest: str


CANCELLED, INTERRUPTED, DAMAGED = "cancelled", "interrupted", "damaged"
"""The codes of a job that somebody stopped, of one that the server went down with, and of a row that cannot be read."""
DAY = 86400
"""Seconds; for so long such a key is known."""
ATTEMPTS = 3
"""A job is to blame that so often ran when the server went down without getting one chunk further."""


class JobStore(Database):
    """The jobs of one server.

    Args:
        keep: seconds that a video is kept once it is done; None for ever.
    """

    def __init__(self, path: Path, keep: float | None = None) -> None:
        super().__init__(path)
        self.keep = keep

    @transaction
    def add(self, name: str, request: CheckedRequest, stream: bool, once: Once | None = None) -> Job:
        """A new job, at the end of the queue; ``once``: by what the same request is known if it comes again."""
        job = Job(name, request, stream, int(time.time()))
        values = job.id, request.fields.model_dump_json(), request.preset, request.chunks, request.size, stream
        self._run(
            "INSERT INTO jobs (id, request, preset, chunks, size, stream, owner, status, progress, attempts,"
            " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', 0, 0, ?)",
            (*values, request.owner, job.created_at),
        )
        if request.owner is not None:
            self._run("DELETE FROM asked WHERE at <= ?", (job.created_at - DAY,))
            self._run("INSERT INTO asked VALUES (?, ?)", (request.owner, job.created_at))
        if once is not None:
            self._run("INSERT INTO once VALUES (?, ?, ?, ?)", (once.key, once.digest, job.id, job.created_at))
        return job

    @transaction
    def get(self, name: str) -> Job:
        """Raises ``UnknownVideoError``."""
        return self._job(self._row(name))

    @transaction
    def known(self, once: Once) -> Job | None:
        """The job that a request became which is sent again; None where it is new. Raises ``ConflictError``."""
        self._run("DELETE FROM once WHERE at < ?", (int(time.time()) - DAY,))
        row = self._run("SELECT * FROM once WHERE key = ?", (once.key,)).fetchone()
        if row is None:
            return None
        if row["digest"] != once.digest:
            raise ConflictError("another request was sent with this Idempotency-Key: give every request its own")
        return self._job(self._row(row["id"]))

    @transaction
    def page(
        self, limit: int, after: str | None = None, order: Literal["asc", "desc"] = "desc", owner: str | None = None
    ) -> list[Job]:
        """Jobs in the order of their creation, those after one of them, which may be deleted meanwhile.

        Args:
            owner: whose they are; None for all.

        Raises ``UnknownVideoError``.
        """
        where, values = "TRUE", list[Any]()
        if owner is not None:
            where, values = "owner = ?", [owner]
        if after is not None:
            where, values = f"{where} AND seq {'>' if order == 'asc' else '<'} ?", [*values, self._place(after)]
        query = f"SELECT * FROM jobs WHERE {where} ORDER BY seq {order} LIMIT ?"
        return [self._job(row) for row in self._run(query, (*values, limit))]

    @transaction
    def count(self, status: str, owner: str | None = None) -> int:
        """Jobs of one status, and of one owner where one is named."""
        query = "SELECT COUNT(*) FROM jobs WHERE status = ?1 AND (?2 IS NULL OR owner = ?2)"
        return self._run(query, (status, owner)).fetchone()[0]

    @transaction
    def asked(self, owner: str) -> list[int]:
        """When an owner asked for a video within the last 24 hours (seconds since 1970), the first at the front."""
        query = "SELECT at FROM asked WHERE owner = ? AND at > ? ORDER BY at"
        return [row["at"] for row in self._run(query, (owner, int(time.time()) - DAY))]

    @transaction
    def ahead(self, name: str) -> int:
        """Jobs that wait before this one, and those that run."""
        query = "SELECT COUNT(*) FROM jobs WHERE status IN ('queued', 'in_progress') AND seq < ?"
        return self._run(query, (self._row(name)["seq"],)).fetchone()[0]

    @transaction
    def claim(self, resting: Collection[str] = ()) -> Job | None:
        """The job that has waited longest, now in a worker's hands; None where none waits. Damaged ones fail.

        ``resting``: jobs that are not to be taken yet.
        """
        waits = f"SELECT * FROM jobs WHERE status = 'queued' AND id NOT IN ({', '.join('?' * len(resting))})"
        while row := self._run(f"{waits} ORDER BY seq LIMIT 1", list(resting)).fetchone():
            job = self._job(row)
            if job.error is None:
                update = "UPDATE jobs SET status = 'in_progress', progress = 0 WHERE id = ?"
                self._run(update, (job.id,))
                return self._job(self._row(job.id))
            failed = "UPDATE jobs SET status = 'failed', completed_at = ?, code = ?, message = ? WHERE seq = ?"
            self._run(failed, (int(time.time()), *job.error, row["seq"]))
        return None

    @transaction
    def begin(self, name: str) -> None:
        """A worker has the devices of a job and begins: this attempt counts, where the server goes down with it."""
        self._run("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", (name,))

    @transaction
    def advance(self, name: str, progress: int) -> None:
        """Notes how far a job is: it has got one chunk further, so earlier attempts are forgiven."""
        self._run("UPDATE jobs SET progress = ?, attempts = 1 WHERE id = ?", (progress, name))

    @transaction
    def finish(self, name: str, made: CheckedRequest) -> bool:
        """The video is there, as it was ``made``; False where the job was deleted or cancelled meanwhile."""
        update = "UPDATE jobs SET status = 'completed', progress = 100, completed_at = ?, request = ?, chunks = ?"
        values = int(time.time()), made.fields.model_dump_json(), made.chunks, name
        return self._run(f"{update} WHERE id = ? AND status = 'in_progress'", values).rowcount > 0

    @transaction
    def fail(self, name: str, code: str, message: str) -> None:
        """There will be no video, and why."""
        update = "UPDATE jobs SET status = 'failed', completed_at = ?, code = ?, message = ? WHERE id = ?"
        self._run(update + " AND status IN ('queued', 'in_progress')", (int(time.time()), code, message, name))

    @transaction
    def cancel(self, name: str, message: str) -> bool:
        """It is not to be made any further, and why; False where it is done. Earlier versions read it as failed."""
        update = "UPDATE jobs SET status = 'failed', completed_at = ?, code = ?, message = ? WHERE id = ?"
        values = int(time.time()), CANCELLED, message, name
        done = self._run(update + " AND status IN ('queued', 'in_progress')", values).rowcount > 0
        if done:
            self._run("INSERT INTO unkept VALUES (?)", (name,))
        return done

    @transaction
    def kept(self, name: str, made: CheckedRequest) -> None:
        """What of a cancelled video is there."""
        self._run(
            "UPDATE jobs SET request = ?, chunks = ? WHERE id = ?", (made.fields.model_dump_json(), made.chunks, name)
        )

    @transaction
    def put_away(self, name: str) -> None:
        """The files of a cancelled video are in order."""
        self._run("DELETE FROM unkept WHERE id = ?", (name,))

    @transaction
    def unkept(self) -> list[str]:
        """Cancelled jobs of which is still to be kept what is there."""
        return [row["id"] for row in self._run("SELECT id FROM unkept")]

    @transaction
    def failed(self) -> list[str]:
        """Jobs of which there will be no video, and nothing that could be gone on with by hand."""
        query = "SELECT id FROM jobs WHERE status = 'failed' AND code NOT IN (?, ?, ?)"
        rows = self._run(query, (CANCELLED, INTERRUPTED, DAMAGED))
        return [row["id"] for row in rows]

    @transaction
    def unfinished(self) -> set[str]:
        """Jobs that wait or run."""
        return {row["id"] for row in self._run("SELECT id FROM jobs WHERE status IN ('queued', 'in_progress')")}

    @transaction
    def strays(self, running: Sequence[str]) -> list[str]:
        """Jobs that are in nobody's hands, as nobody could note how they ended; they wait again."""
        rows = self._run("SELECT id FROM jobs WHERE status = 'in_progress'").fetchall()
        found = [row["id"] for row in rows if row["id"] not in running]
        for name in found:
            self._run("UPDATE jobs SET status = 'queued', progress = 0 WHERE id = ?", (name,))
        return found

    @transaction
    def give_back(self, name: str, begun: bool) -> None:
        """A job that was stopped before its end waits again; an attempt that was begun does not count."""
        update = "UPDATE jobs SET status = 'queued', progress = 0, attempts = attempts - ? WHERE id = ?"
        update += " AND status = 'in_progress'"
        self._run(update, (int(begun), name))

    @transaction
    def delete(self, name: str) -> None:
        """Its files are still there, see ``cleared``. Raises ``UnknownVideoError``."""
        place = self._row(name)["seq"]
        self._run("DELETE FROM jobs WHERE id = ?", (name,))
        self._run("DELETE FROM unkept WHERE id = ?", (name,))
        self._run("INSERT OR IGNORE INTO gone VALUES (?, ?, TRUE)", (name, place))

    @transaction
    def cleared(self, name: str) -> None:
        """The files of a deleted job are deleted, too."""
        self._run("UPDATE gone SET files = FALSE WHERE id = ?", (name,))

    @transaction
    def gone(self) -> set[str]:
        """Deleted jobs whose files may still be there."""
        return {row["id"] for row in self._run("SELECT id FROM gone WHERE files")}

    @transaction
    def recover(self) -> None:
        """After a start: what ran when the server went down waits again, and what is damaged has a name."""
        now = int(time.time())
        self._rename_damaged(now)
        lost = "UPDATE jobs SET status = 'failed', completed_at = ?, code = ?, message = ? WHERE "
        twice = (now, INTERRUPTED, f"the server went down {ATTEMPTS} times while it made one chunk of this video")
        self._run(lost + "status = 'in_progress' AND attempts >= ?", (*twice, ATTEMPTS))
        self._run("UPDATE jobs SET status = 'queued', progress = 0 WHERE status = 'in_progress'")

    def _rename_damaged(self, now: int) -> None:
        """A row whose id is none fails, under a new one by which it can be deleted: no damage may name a file."""
        damaged = "typeof(id) != 'text' OR length(CAST(id AS BLOB)) != ? OR id NOT GLOB ?"
        told = "this job's row in the database has no id that can be: delete it and ask for the video again"
        update = "UPDATE jobs SET id = ?, status = 'failed', completed_at = ?, code = ?, message = ? WHERE seq = ?"
        for row in self._run(f"SELECT seq FROM jobs WHERE {damaged}", (ID_LENGTH, ID_GLOB)).fetchall():
            self._run(update, (new_id(), now, DAMAGED, told, row["seq"]))
        for table in ("gone", "unkept"):
            self._run(f"DELETE FROM {table} WHERE {damaged}", (ID_LENGTH, ID_GLOB))

    @transaction
    def done(self, before: float = math.inf) -> list[str]:
        """Jobs that ended before a time (seconds since 1970), those that ended first at the front."""
        query = "SELECT id FROM jobs WHERE typeof(completed_at) = 'integer' AND completed_at < ? ORDER BY completed_at"
        return [row["id"] for row in self._run(query, (before,))]

    @transaction
    def names(self) -> set[str]:
        """Of all jobs."""
        return {row["id"] for row in self._run("SELECT id FROM jobs")}

    def _job(self, row: sqlite3.Row) -> Job:
        job = _read_or_damaged(row)
        if self.keep is None or job.completed_at is None:
            return job
        return dataclasses.replace(job, expires_at=round(job.completed_at + self.keep))

    def _run(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self.connection.execute(query, values)

    def _place(self, name: str) -> int:
        """Where a job stands among all, or stood."""
        gone = self._run("SELECT seq FROM gone WHERE id = ?", (name,)).fetchone()
        return (gone or self._row(name))["seq"]

    def _row(self, name: str) -> sqlite3.Row:
        row = self._run("SELECT * FROM jobs WHERE id = ?", (name,)).fetchone()
        if row is None:
            raise UnknownVideoError(f"there is no video {name!r}")
        return row


def _read_or_damaged(row: sqlite3.Row) -> Job:
    """A row as it was written; of one that cannot be read, a failed job that says so, and what of it can."""
    try:
        return _read(row)
    except (ValueError, TypeError) as error:
        told = str(error).splitlines()[0]
        reason = f"this job's row in the database cannot be read ({told}): delete it and ask for the video again"
    preset, size = (_kept(row[name], "unknown") for name in ("preset", "size"))
    owner = row["owner"] if isinstance(row["owner"], str) else None
    request = CheckedRequest(VideoRequest(), preset, _kept(row["chunks"], 0), size, owner=owner)
    return Job(str(row["id"]), request, False, _kept(row["created_at"], 0), "failed", error=(DAMAGED, reason))


def _kept(value: Any, otherwise: T) -> T:
    """A value where it is of the kind that it should be."""
    return value if type(value) is type(otherwise) else otherwise


def _read(row: sqlite3.Row) -> Job:
    """Raises ``ValueError`` and ``TypeError`` for a row that no version has written."""
    request = CheckedRequest(
        VideoRequest.model_validate_json(row["request"]), row["preset"], row["chunks"], row["size"], owner=row["owner"]
    )
    error = (row["code"], row["message"]) if row["code"] else None
    status = "cancelled" if row["status"] == "failed" and row["code"] == CANCELLED else row["status"]
    state = status, row["progress"], row["attempts"], row["completed_at"]
    for name, kind in KINDS.items():
        if not isinstance(row[name], kind):
            raise TypeError(f"{name} is {str(row[name])[:40]!r}")
    if row["status"] not in get_args(Status):
        raise ValueError(f"status is {str(row['status'])[:40]!r}")
    return Job(row["id"], request, bool(row["stream"]), row["created_at"], *state, error)


KINDS: dict[str, Any] = {
    **dict.fromkeys(("id", "preset", "size", "status"), str),
    **dict.fromkeys(("chunks", "stream", "progress", "attempts", "created_at"), int),
    "completed_at": int | None, "code": str | None, "message": str | None,
    "owner": str | None,
}  # fmt: skip
"""Of the columns: SQLite keeps whatever it is given."""
