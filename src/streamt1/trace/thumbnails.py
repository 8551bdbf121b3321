"""Small pictures of candidates, stored beside a trace: one JSON object a line, a candidate and its picture."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from streamt1.core.errors import TraceError
from streamt1.core.files import write_whole


def write_thumbnails(path: Path, pictures: Mapping[int, bytes]) -> None:
    """Writes WebP pictures by candidate id. Raises ``OutputError``."""
    lines = (
        json.dumps({"candidate": candidate, "webp": base64.b64encode(picture).decode()})
        for candidate, picture in pictures.items()
    )
    write_whole(path, "".join(line + "\n" for line in lines).encode())


def read_thumbnails(path: Path) -> dict[int, bytes]:
    """Reads what :func:`write_thumbnails` wrote; a run without the file has no pictures.

    Raises:
        TraceError: the file cannot be read, or a line of it holds no picture.
    """
    if not path.exists():
        return {}
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {int(record["candidate"]): base64.b64decode(record["webp"], validate=True) for record in records}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TraceError(f"cannot read the thumbnails {path}: {error}") from error
