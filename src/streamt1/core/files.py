"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from streamt1.core.errors import DiskFullError, OutputError, causes

FULL = (errno.ENOSPC, errno.EDQUOT)
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
TROUBLE = (*FULL, *SHORT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT)
"""What a machine answers that has no room, no file handles or no disk at the moment."""


@contextmanager
def writing(what: Path | str) -> Iterator[None]:
    """Inside, ``OSError`` is an ``OutputError`` (``DiskFullError``) that names what could not be written."""
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in FULL else OutputError
        raise kind(f"cannot write {what}: {error.strerror or error}") from error


def is_trouble(error: BaseException) -> bool:
    """Whether an error, or what it came from, is the machine's: the same may well be done later."""
    return any(
        isinstance(one, (sqlite3.OperationalError, DiskFullError))
        or (isinstance(one, OSError) and one.errno in TROUBLE)
        for one in causes(error)
    )


def read_or_none(path: Path) -> bytes | None:
    """A file; None where it is not there or damaged.

    Raises ``OutputError`` where the machine is short of something, and the file may be whole.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in SHORT:
            raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
        return None


def is_same(file: os.stat_result, path: Path) -> bool:
    """Whether a file still stands under a name: a folder can be deleted while it is written."""
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:
        return False


def part_of(path: Path) -> Path:
    """Where a file stands while it is written by ``whole_file``: what a kill leaves there is of no use."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it is renamed when the block ends well, and removed otherwise.

    Folders are made as needed. Inside the block only ``OSError`` counts as a failure to write.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full; nothing half-written is left.
    """
    part, whole = part_of(path), False
    made = _absent(path.parent)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(path)
            whole = True
    finally:
        if not whole:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            _remove(made)


def write_whole(path: Path, content: bytes, durable: bool = False) -> None:
    """Writes a file, or nothing; see :func:`whole_file`. ``durable`` waits until it is on the disk."""
    with whole_file(path) as part, part.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def check_writable(folder: Path, keep: bool = False) -> None:
    """Makes sure that results can be written to ``folder``, before any work is done.

    Args:
        keep: the folder stays; otherwise nothing stays that was not there.

    Raises ``OutputError``.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder: give another folder")
    made, stays = _absent(folder), False
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:  # has no name where the system can do that
                probe.write(b"streamt1")
        stays = keep
    finally:
        if not stays:
            _remove(made)


def free_bytes(folder: Path) -> int:
    """Of the disk that a folder is on. Raises ``OutputError``."""
    with writing(folder):
        return shutil.disk_usage(folder).free


def bytes_in(folder: Path) -> int:
    """Of all files below a folder; those that go meanwhile are not counted. Raises ``OutputError``."""
    size = 0
    with writing(folder):
        for base, _, names in os.walk(folder):
            for name in names:
                with suppress(FileNotFoundError):
                    size += os.stat(Path(base) / name).st_size
    return size


def _absent(folder: Path) -> list[Path]:
    """A folder and those above it, as far as they are not there; the innermost first. Raises ``OutputError``."""
    with writing(folder):
        return [one for one in (folder, *folder.parents) if not one.exists()]


def _remove(folders: list[Path]) -> None:
    """Removes folders that are empty, the innermost first."""
    with suppress(OSError):
        for one in folders:
            one.rmdir()


def packaged_names(package: str, folder: str) -> list[str]:
    """Names, without their endings, of the YAML files that ship in a folder of a package."""
    files = (resources.files(package) / folder).iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".yaml"))
