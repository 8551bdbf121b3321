"""One file of the hub over HTTP: where it was cut off it goes on, in a later process too.

The hub's own client begins a file anew that broke off for good, and here a file has up to 16 GB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from streamt1.core.errors import CheckpointError, OutputError

BLOCK = 1 << 20
Tick = Callable[[int], None]


def fetch_file(repo: str, name: str, target: Path, size: int, sha256: str, timeout: float, tick: Tick) -> None:
    """Writes a file of a repository to ``target``, in full or not at all; what has come stays beside it for next time.

    Args:
        sha256: where it is known, else "".
        timeout: seconds that the server may be silent.
        tick: told how many more bytes are here; those of an earlier attempt count.

    Raises:
        CheckpointError: the bytes are not those that were promised; they are deleted.
        OutputError: they cannot be written, and are deleted.
        HTTPError: of the hub's client; the server failed, and went on failing.
    """
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    part = target.with_name(f"{target.name}.{sha256[:8] or size}.incomplete")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _stream(repo, name, part, size, timeout, tick)
        if part.stat().st_size != size or (sha256 and sha256_of(part) != sha256):
            raise CheckpointError(f"{repo}/{name} arrived damaged and was deleted; run the command again")
        part.replace(target)
    except HTTPError:  # some of them count as OSError; what has come stays
        raise
    except CheckpointError:
        part.unlink()
        raise
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


def _stream(repo: str, name: str, part: Path, size: int, timeout: float, tick: Tick) -> None:
    """Asks again for what is missing as long as each attempt brings some of it."""
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    with part.open("ab") as file:
        tick(file.tell())
        while (begun := file.tell()) < size:
            try:
                _receive(repo, name, file, timeout, tick)
            except HTTPError as error:
                if getattr(error, "response", None) is not None or file.tell() <= begun:
                    raise
            if file.tell() <= begun:
                return  # it has ended early and says no more: the size tells


def _receive(repo: str, name: str, file: BinaryIO, timeout: float, tick: Tick) -> None:
    """Appends what follows the bytes that are there."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    begun = file.tell()
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={begun}-"}
    options = {"headers": headers, "timeout": timeout, "follow_redirects": True}
    with get_session().stream("GET", hf_hub_url(repo, name), **options) as answer:
        hf_raise_for_status(answer)
        if answer.status_code != 206:  # it sends all of it, whatever is asked
            file.truncate(0)
            tick(-begun)
        for block in answer.iter_bytes():
            file.write(block)
            tick(len(block))


def sha256_of(path: Path) -> str:
    """Of all of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
