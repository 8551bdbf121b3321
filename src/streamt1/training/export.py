"""Writing trained weights into the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from streamt1.core.files import whole_file
from streamt1.core.weights import bundled_path


def export_weights(
    name: str, weights: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path | None = None
) -> Path:
    """Writes `<name>.safetensors` (bfloat16) with `config` as JSON in its metadata; never leaves a half-written file.

    folder None means the package's own weights folder. Returns the file's path.
    """
    path = bundled_path(name) if folder is None else folder / f"{name}.safetensors"
    tensors = {key: value.detach().to("cpu", torch.bfloat16).contiguous() for key, value in weights.items()}
    with whole_file(path) as part:
        save_file(tensors, str(part), metadata={"config": json.dumps(dict(config), sort_keys=True)})
        part.chmod(0o644)
    return path
