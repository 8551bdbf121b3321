"""A database of the server: SQLite in a file, whose transactions are whole or were never there."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from streamt1.core.errors import OutputError
from streamt1.core.files import write_whole

MIGRATIONS = (
    """
    CREATE TABLE IF NOT EXISTS jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        request TEXT NOT NULL, preset TEXT NOT NULL, chunks INTEGER NOT NULL, size TEXT NOT NULL,
        stream INTEGER NOT NULL, status TEXT NOT NULL, progress INTEGER NOT NULL, attempts INTEGER NOT NULL,
        created_at INTEGER NOT NULL, completed_at INTEGER, code TEXT, message TEXT)
    """,
    "CREATE TABLE gone (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, files INTEGER NOT NULL)",
    "CREATE TABLE once (key TEXT PRIMARY KEY, digest TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL)",
    "CREATE INDEX jobs_by_status ON jobs (status, seq)",
    "ALTER TABLE jobs ADD COLUMN owner TEXT",
    "CREATE INDEX jobs_by_owner ON jobs (owner, seq)",
    "CREATE TABLE asked (owner TEXT NOT NULL, at INTEGER NOT NULL)",
    """
    CREATE TABLE outbox (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, job TEXT NOT NULL, at INTEGER NOT NULL, tries INTEGER NOT NULL,
        due REAL NOT NULL)
    """,
    "CREATE TABLE unkept AS SELECT id FROM jobs WHERE status = 'failed' AND code = 'cancelled' AND chunks <> 0",
)
"""What each version of the schema adds to the one before; 0.1 and 0.2 wrote the first, without a number. ``gone`` has
deleted jobs: where each stood in lists, and whether its files are still to be deleted; ``once`` the
requests that a client would have made once, however often it sends them; ``asked`` when each key asked for a video,
also one that is deleted by now; ``outbox`` what a webhook is still to be told; ``unkept`` cancelled jobs of which is
still to be kept what is there."""


RESERVE = 1 << 20
"""Bytes beside the database that are given up where the disk is full, so that what frees it can be noted."""


class Locked(Protocol):
    """What a transaction needs of a database."""

    path: Path
    lock: threading.Lock
    connection: sqlite3.Connection

    def give_up_reserve(self) -> bool: ...


class Database:
    """SQLite in a file.

    Args:
        path: the file; it is locked as long as it is open, and a process that dies lets go of it.

    Raises:
        OutputError: it cannot be opened, another server uses it, or a newer version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
            self.connection.row_factory = sqlite3.Row
            self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.connection.execute("BEGIN EXCLUSIVE")
            self._migrate()
            self.connection.commit()
        except (sqlite3.Error, OSError) as error:
            busy = "locked" in str(error)
            reason = "another server uses it; give this one a folder of its own" if busy else error
            raise OutputError(f"cannot open the jobs in {path}: {reason}") from error

    def _migrate(self) -> None:
        """Brings an older file to this version's schema, with all that is in it."""
        found = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if found > len(MIGRATIONS):
            self.connection.close()
            raise OutputError(
                f"{self.path} was written by a newer streamt1 (its schema is version {found}, this one knows"
                f" {len(MIGRATIONS)}): update streamt1, or give this server another folder"
            )
        for statement in MIGRATIONS[found:]:
            self.connection.execute(statement)
        self.connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @property
    def _reserve(self) -> Path:
        return self.path.with_name(f"{self.path.name}.reserve")

    def keep_reserve(self) -> None:
        """Takes the room again that a full disk needs, where there is any."""
        with suppress(OutputError):
            if not self._reserve.exists():
                write_whole(self._reserve, bytes(RESERVE))

    def give_up_reserve(self) -> bool:
        """Whether there was any."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Lets another server have it."""
        with self.lock:
            self.connection.close()


D = TypeVar("D", bound=Locked)
P = ParamSpec("P")
R = TypeVar("R")


def transaction(method: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """One thread at a time, all or nothing; what the database cannot do is an ``OutputError``."""

    @wraps(method)
    def wrapper(self: D, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                with self.lock, self.connection:
                    return method(self, *args, **kwargs)
            except sqlite3.OperationalError as error:
                if "disk is full" not in str(error) or not self.give_up_reserve():
                    raise
                with self.lock, self.connection:
                    return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            raise OutputError(f"cannot use the jobs in {self.path}: {error}") from error

    return wrapper
