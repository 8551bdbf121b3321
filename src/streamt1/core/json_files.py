"""Configurations of other projects, read with care: what is wrong with one is said in a sentence that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamt1.core.errors import CheckpointError

LARGEST = 100_000_000
"""Bytes; a tokenizer has 17 MB, an index of a large model less than 1 MB."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: the file is missing, cannot be read, is larger than any we know, or holds no JSON object.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(f"{path} is far too large for a configuration; delete it and download again")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; download it again") from error
    except (ValueError, RecursionError) as error:
        reason = str(error).split("\n")[0][:100]
        raise CheckpointError(f"{path} is damaged ({reason}); delete it and download again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged (it holds no object); delete it and download again")
    return content
