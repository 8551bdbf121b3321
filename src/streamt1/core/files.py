"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from streamt1.core.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it is renamed when the block ends well, and removed otherwise.

    Folders are made as needed. Inside the block only ``OSError`` counts as a failure to write.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full; nothing half-written is left.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if os.access(part, os.F_OK):
            part.unlink()


def write_whole(path: Path, content: bytes, durable: bool = False) -> None:
    """Writes a file, or nothing; see :func:`whole_file`. ``durable`` waits until it is on the disk."""
    with whole_file(path) as part, part.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def check_writable(folder: Path) -> None:
    """Makes sure that results can be written to ``folder``, before any work is done. Raises ``OutputError``."""
    probe = folder / ".writable"
    write_whole(probe, b"streamt1")
    probe.unlink()


def packaged_names(package: str, folder: str) -> list[str]:
    """Names, without their endings, of the YAML files that ship in a folder of a package."""
    files = (resources.files(package) / folder).iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".yaml"))
