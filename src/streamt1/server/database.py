"""A database of jobs: opened by one server, used by one thread at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from streamt1.core.errors import OutputError

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    request TEXT NOT NULL, preset TEXT NOT NULL, chunks INTEGER NOT NULL, size TEXT NOT NULL, stream INTEGER NOT NULL,
    status TEXT NOT NULL, progress INTEGER NOT NULL, attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL, completed_at INTEGER, code TEXT, message TEXT)
"""


class Database:
    """SQLite in a file.

    Args:
        path: the file; it is locked as long as it is open, and a process that dies lets go of it.

    Raises:
        OutputError: it cannot be opened, or another server uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
            self.connection.row_factory = sqlite3.Row
            self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.connection.execute("BEGIN EXCLUSIVE")
            self.connection.execute(SCHEMA)
            self.connection.commit()
        except (sqlite3.Error, OSError) as error:
            busy = "locked" in str(error)
            reason = "another server uses it; give this one a folder of its own" if busy else error
            raise OutputError(f"cannot open the jobs in {path}: {reason}") from error

    def close(self) -> None:
        """Lets another server have it."""
        with self.lock:
            self.connection.close()


D = TypeVar("D", bound=Database)
P = ParamSpec("P")
R = TypeVar("R")


def transaction(method: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """One thread at a time, all or nothing; what the database cannot do is an ``OutputError``."""

    @wraps(method)
    def wrapper(self: D, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with self.lock, self.connection:
                return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            raise OutputError(f"cannot use the jobs in {self.path}: {error}") from error

    return wrapper
