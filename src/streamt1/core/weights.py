"""Reading weights files, other projects' and our own: memory-mapped, never running code from them."""

from __future__ import annotations

import json
import pickle
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from streamt1.core.errors import CheckpointError

SHOWN = 5
"""Names that an error message lists."""


def read_tensors(path: Path) -> dict[str, object]:
    """What a weights file holds: names and tensors, or, of a ``.pt`` file, whatever dictionary it is.

    Args:
        path: a ``.safetensors`` file, an index of several (``*.safetensors.index.json``), a folder with either, or a
            file of ``torch.save``.

    Raises:
        CheckpointError: missing, truncated, or pickled with code in it.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"the weights file {path} does not exist; download it, or give the right path")
    try:
        if path.is_dir():
            return read_tensors(_inside(path))
        if path.name.endswith(".index.json"):
            return _read_shards(path)
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain weights file ({_first_line(error)}); it is refused, since unpickling can run code"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or was not downloaded to its end ({_first_line(error)}); delete it and download again"
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not a dictionary of weights")
    return loaded


def read_weights(path: Path) -> dict[str, Tensor]:
    """Like :func:`read_tensors`, for files that hold tensors and nothing else."""
    loaded = read_tensors(path)
    weights = {key: value for key, value in loaded.items() if isinstance(value, Tensor)}
    if len(weights) < len(loaded) or not weights:
        raise CheckpointError(f"{path} holds more than weights, or none: {', '.join(sorted(map(str, loaded))[:SHOWN])}")
    return weights


def load_strictly(module: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Puts weights into a module (which may be on the meta device), every one of them.

    Raises ``CheckpointError`` that lists names that are missing, unexpected, or of another shape.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    shapes = [
        f"{key} is {list(weights[key].shape)}, expected {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(f"{name} does not fit the model; {'; '.join(problems)}")
    module.load_state_dict(weights, assign=True)


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


def _read_safetensors(path: Path) -> dict[str, object]:
    with safe_open(str(path), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _read_shards(index: Path) -> dict[str, object]:
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return {key: value for name in names for key, value in read_tensors(index.with_name(name)).items()}


def _inside(folder: Path) -> Path:
    """The one weights file, or index of several, of a folder."""
    for pattern in ("*.safetensors.index.json", "*.safetensors", "*.pt", "*.pth"):
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise CheckpointError(f"{folder} holds several weights files and no index of them; name one")
        if found:
            return found[0]
    raise CheckpointError(f"{folder} holds no weights file; download it, or give the right path")


def _is_zip(path: Path) -> bool:
    """Files of torch before 1.6 are not, and cannot be mapped."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:160]
