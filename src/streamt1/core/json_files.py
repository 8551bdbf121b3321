"""Configurations of other projects, read with care: what is wrong with one is said in a sentence that names it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from streamt1.core.errors import CheckpointError
from streamt1.core.json_text import JsonError, parse_json

LARGEST = 100_000_000
"""Bytes; a tokenizer has 17 MB, an index of a large model less than 1 MB."""
MOST, MOST_LAYERS = 10_000_000, 1000
"""A size in a configuration, and a number of layers: ten times what the largest models have. Whoever builds a model of
more would wait for hours."""
_LAYERS = ("layers", "depth", "blocks")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: the file is missing, cannot be read, is larger than any we know, or holds no JSON object.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(f"{path} is far too large for a configuration; delete it and download again")
        content = parse_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; download it again") from error
    except JsonError as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and download again") from error
    except ValueError as error:
        raise CheckpointError(f"cannot read {path}: {error}; give a path that can be read") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged (it holds no object); delete it and download again")
    return content


def read_sizes(path: Path) -> dict[str, Any]:
    """:func:`read_json` of a model's configuration. Raises ``CheckpointError`` for numbers that no model has, too."""
    content = read_json(path)
    left: list[tuple[str, Any]] = list(content.items())
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(name, one) for one in value]
        elif isinstance(value, (int, float)):
            most = MOST_LAYERS if name.endswith(_LAYERS) else MOST
            if not math.isfinite(value) or abs(value) > most:
                raise CheckpointError(
                    f"{path} says {name[:60]!r} is {str(value)[:20]}, which no model has"
                    f" (at most {most}); download it again"
                )
    return content
