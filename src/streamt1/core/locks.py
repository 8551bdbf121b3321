"""A file or a folder belongs to one process while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamt1.core.errors import OutputError
from streamt1.core.files import writing

try:
    import fcntl
except ImportError:  # not on every system
    fcntl = None


def lock(handle: int) -> None:
    """Locks an open file or folder until it is closed, or its process gone. Does nothing on systems without ``flock``.

    Raises ``BlockingIOError`` where another process holds it, ``OSError`` where the file system refuses.
    """
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder, which is made as needed, until the block ends or the process does. Leaves no file.

    Systems without ``flock``, and file systems that refuse it, are not guarded.

    Raises:
        OutputError: the folder cannot be made, or another process holds it.
    """
    if "\0" in str(folder):
        raise OutputError(f"{str(folder)!r} is no path: it holds a zero byte")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            lock(handle)
        except BlockingIOError as error:
            raise OutputError(f"another run writes to {folder}: wait for it, or give a folder of its own") from error
        except OSError:
            pass  # the file system knows no locks
        yield
    finally:
        os.close(handle)
