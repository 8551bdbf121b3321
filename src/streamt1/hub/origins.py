"""Where the files of a preset are: on this disk, or at their origins (SPEC section 6)."""

from __future__ import annotations

import fnmatch
import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict

from streamt1.core.errors import CheckpointError, ConfigError, needs_extra
from streamt1.hub.transfer import sha256_of


def fetched() -> Path:
    """The folder for what comes from elsewhere than the hub. Raises ``ConfigError`` for a user without a home."""
    return _home("~/.cache/streamt1")


def _home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no such home folder; set HOME, or give a folder of downloads") from error


class Origin(BaseModel):
    """A file or a folder that can be downloaded.

    Attributes:
        repo: ``owner/name`` on the Hugging Face hub.
        url: an address of a single file, instead of ``repo``.
        path: of a file or folder in the repository, "" for all of it; with ``url``, a member of the zip file there.
        only: patterns of the names that are needed from a folder.
        sha256: of the file at ``url``.
        licence: what its users agree to, where that forbids something; said before it is downloaded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str = ""
    url: str = ""
    path: str = ""
    only: tuple[str, ...] = ()
    sha256: str = ""
    licence: str = ""

    def wants(self, name: str) -> bool:
        """Whether a file of the repository belongs to it."""
        if name == self.path:
            return True
        prefix = f"{self.path}/" if self.path else ""
        if not name.startswith(prefix):
            return False
        return not self.only or any(fnmatch.fnmatch(name[len(prefix) :], pattern) for pattern in self.only)

    @property
    def local_name(self) -> Path:
        """Where it lies below a folder of downloads."""
        if self.repo:
            return Path(self.repo) / self.path
        told = hashlib.sha256(f"{self.url}\n{self.path}".encode()).hexdigest()
        return Path("files") / told[:8] / Path(self.path or unquote(urlsplit(self.url).path)).name

    @property
    def old_name(self) -> Path:
        """Where earlier versions put what is at ``url``: all files of one name in one place."""
        return Path("files") / Path(self.path or self.url).name

    def __str__(self) -> str:
        return f"{self.repo}/{self.path}" if self.repo else f"{self.url}{' ' + self.path if self.path else ''}"


def locate(name: str, source: str | Origin, folder: Path | None) -> Path:
    """The place of a file or folder on this disk. Never touches the network.

    Args:
        name: what the configuration calls it.
        source: a path of the user's own, or an origin.
        folder: of downloads; None means the hub's cache.

    Raises:
        CheckpointError: it is not there; the message says how to get it.
    """
    if isinstance(source, str):
        path = _home(source)
        if not _is_there(name, path):
            raise CheckpointError(f"files.{name}: there is no {path}; give the right path, or download the preset")
        return path
    path = _downloaded(source, folder)
    if path is None or not _is_there(name, path):
        raise CheckpointError(
            f"files.{name} ({source}) is not on this disk: run `streamt1 download` for this preset,"
            f" or give your own copy with --set files.{name}=PATH"
        )
    return path


def _is_there(name: str, path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"files.{name}: cannot read {path}: {reason}; give a path that can be read") from error
    return True


def _downloaded(origin: Origin, folder: Path | None) -> Path | None:
    if folder is not None:
        return at_url(origin, folder) if origin.url else folder / origin.local_name
    if origin.url:
        return at_url(origin, fetched())
    with needs_extra("wan", "finding downloaded models"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    try:
        return Path(snapshot_download(origin.repo, local_files_only=True)) / origin.path
    except LocalEntryNotFoundError:
        return None


def at_url(origin: Origin, folder: Path) -> Path:
    """Where the file of an origin with a ``url`` lies, or is to lie, below a folder of downloads.

    A file that an earlier version fetched stays where it is, if it is the one that is meant: by its hash, or where a
    member of an archive with a hash has its name. Without a hash it could be any of that name.
    """
    path, old = folder / origin.local_name, folder / origin.old_name
    if path.exists() or not old.is_file() or not origin.sha256:
        return path
    return old if origin.path or sha256_of(old) == origin.sha256 else path


def needed(files: dict[str, str | Origin], name: str) -> str | Origin:
    """An entry of a configuration's files. Raises ``ConfigError`` where it is missing."""
    if name not in files:
        raise ConfigError(
            f"the configuration names no files.{name}; set it to a path, or start from a preset that does"
        )
    return files[name]
