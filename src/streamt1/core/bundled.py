"""Reading the weights that ship inside the package."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.pocket_words import VOCABULARY_SIZE


def bundled_path(name: str) -> Path:
    """Where the package keeps the weights of that name (without `.safetensors`); the file need not exist."""
    return Path(str(resources.files("streamt1"))) / "weights" / f"{name}.safetensors"


def load_bundled(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (float32) and configuration of a bundled model. Raises CheckpointError when missing or damaged."""
    return load_weights(bundled_path(name))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (float32) and configuration of a safetensors file whose metadata holds `config` as JSON.

    Raises CheckpointError when the file is missing, truncated, or has no configuration.
    """
    if not path.is_file():
        raise CheckpointError(f"the weights file {path} is missing; install the package again, or train and export it")
    try:
        with safe_open(str(path), framework="pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            weights = {key: file.get_tensor(key).to(torch.float32) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"the weights file {path} is damaged or not one of ours ({error})") from error
    return weights, config


def check_vocabulary(words: int, name: str) -> None:
    """Raises CheckpointError for weights that were trained on fewer words than prompts may hold now."""
    if words < VOCABULARY_SIZE:
        raise CheckpointError(
            f"the weights of '{name}' know {words - 1} words, prompts may hold {VOCABULARY_SIZE - 1}; train them again"
        )
