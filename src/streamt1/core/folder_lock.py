"""A folder belongs to one process while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamt1.core.errors import OutputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder, which is made as needed, until the block ends or the process does. Leaves no file.

    Systems without ``flock``, and file systems that refuse it, are not guarded.

    Raises:
        OutputError: the folder cannot be made, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"another run writes to {folder}: wait for it, or give a folder of its own") from error
        except OSError:
            pass  # the file system knows no locks
        yield
    finally:
        os.close(handle)
