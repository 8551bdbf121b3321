"""Files of tensors with texts beside them: safetensors, written tensor by tensor, and read without mapping the file.

What was mapped would change under its reader where somebody writes over the file; what was read stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.files import whole_file
from streamt1.core.identity import byte_view
from streamt1.core.safetensors_header import Header
from streamt1.core.weights import FORMS

TYPES = {
    **FORMS,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What such a file may hold, by safetensors' names."""
NAMES = {dtype: name for name, dtype in TYPES.items()}
ALIGNED = 8
"""Bytes: the first tensor begins at a multiple, and wide numbers stand before narrow ones."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Writes a file, or nothing.

    Args:
        tensors: on the host, contiguous, of ``TYPES``.
        texts: told in the header, under ``__metadata__``.

    Raises:
        OutputError: it cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": dict(texts)}
    ordered = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    end = 0
    for name in ordered:
        tensor, begin = tensors[name], end
        end += tensor.nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNED)
    with whole_file(path) as part, part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            file.write(byte_view(tensors[name]))


def read_all_tensors(path: Path, header: Header) -> dict[str, Tensor]:
    """The tensors of a file, on the host, in memory of their own.

    Args:
        header: of the file, see ``read_header``.

    Raises:
        CheckpointError: a type that is none of ``TYPES``, or the file has become shorter.
    """
    found: dict[str, Tensor] = {}
    try:
        with path.open("rb") as file:
            for name, entry in header.entries.items():
                if entry["dtype"] not in TYPES:
                    raise CheckpointError(
                        f"{path} holds {entry['dtype'][:20]!r} numbers, which no such file has; make it again"
                    )
                found[name] = tensor = torch.empty(entry["shape"], dtype=TYPES[entry["dtype"]])
                file.seek(header.begin + entry["data_offsets"][0])
                if math.prod(entry["shape"]) and file.readinto(byte_view(tensor)) < tensor.nbytes:
                    raise CheckpointError(f"{path} has become shorter while it was read; read it again")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    return found
