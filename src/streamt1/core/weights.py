"""Reading weights files, other projects' and our own: memory-mapped, never running code from them."""

from __future__ import annotations

import math
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from streamt1.core.errors import CheckpointError, warn
from streamt1.core.json_text import DEEPEST, parse_json
from streamt1.core.weight_files import check_weight_file, safetensors_header, weight_files

_DAMAGED = (
    SafetensorError, RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, struct.error, AttributeError,
    ArithmeticError, AssertionError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What the readers raise for files that are not what they seem."""
SHOWN = 5
"""Names that an error message lists."""
FORMS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What weights may be made of, by safetensors' names. Fewer bits need scales, which only their own project reads."""
_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")


def read_tensors(path: Path) -> dict[str, object]:
    """What a weights file holds: names and tensors, or, of a ``.pt`` file, whatever dictionary it is.

    Args:
        path: a ``.safetensors`` file, an index of several (``*.safetensors.index.json``), a folder with either, or a
            file of ``torch.save``.

    Raises:
        CheckpointError: missing, truncated, or pickled with code in it.
    """
    return {key: value for file in _checked(path) for key, value in _read_file(file).items()}


def _checked(path: Path) -> list[Path]:
    """The files behind a path, all of them looked at before the first is read."""
    files = weight_files(Path(path))
    for file in files:
        check_weight_file(file)
    return files


def _read_file(path: Path) -> dict[str, object]:
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        found = f"names {named[1]}, which is code" if named else "is not plain"
        raise CheckpointError(
            f"{path} holds more than weights: its pickle {found}; it is refused, since unpickling can run code: get a"
            " file of weights alone, best as safetensors"
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path} is damaged or was not downloaded to its end ({one_line(error)}); delete it and download again"
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not a dictionary of weights")
    _check_extents(loaded, path)
    return loaded


def _check_extents(loaded: Mapping[Any, Any], path: Path) -> None:
    """Raises ``CheckpointError`` for a tensor that claims more values than are stored, or that nests without end."""
    left: list[tuple[Any, int]] = [(value, 1) for value in loaded.values()]
    while left:
        value, depth = left.pop()
        if depth > DEEPEST:
            raise CheckpointError(f"{path} is damaged: it is nested more than {DEEPEST} deep; download it again")
        if isinstance(value, Mapping):
            left += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta:
            stored = value.untyped_storage().nbytes()
            if value.numel() * value.element_size() > max(stored, value.element_size()):
                raise CheckpointError(f"{path} is damaged: a tensor claims more than is stored; download again")


def read_layout(path: Path) -> dict[str, object]:
    """Like :func:`read_tensors`, but for names and shapes: what a check needs before anything is loaded.

    Tensors of safetensors are on the meta device, those of ``.pt`` files are mapped and not read.
    """
    return {key: value for file in _checked(path) for key, value in _layout_of(file).items()}


def _layout_of(path: Path) -> dict[str, object]:
    if path.suffix != ".safetensors":
        return _read_file(path)
    header = safetensors_header(path)
    # a type that torch's own names lack stands as bytes: it is refused by its type in any case
    return {
        key: torch.empty(entry["shape"], dtype=FORMS.get(entry["dtype"], torch.uint8), device="meta")
        for key, entry in header.items()
    }


def read_weights(path: Path, read: Callable[[Path], Mapping[str, object]] = read_tensors) -> dict[str, Tensor]:
    """Like :func:`read_tensors`, for files that hold tensors and nothing else, under the names of the plain model.

    Args:
        read: :func:`read_layout` for a check that reads no data.
    """
    loaded = read(path)
    while len(loaded) == 1 and isinstance(inner := next(iter(loaded.values())), dict):
        loaded = inner  # such as {"state_dict": ...}
    weights = {unwrapped(k): value for k, value in loaded.items() if isinstance(k, str) and isinstance(value, Tensor)}
    if len(weights) < len(loaded) or not weights:
        raise CheckpointError(f"{path} holds more than weights, or none: {', '.join(sorted(map(str, loaded))[:SHOWN])}")
    return weights


def layout_of(path: Path) -> dict[str, Tensor]:
    """:func:`read_weights` without their data."""
    return read_weights(path, read_layout)


def unwrapped(name: str) -> str:
    """A weight's name without what wrappers of training and compilers put before and into it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def load_strictly(module: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Puts weights into a module (which may be on the meta device), every one of them.

    Raises ``CheckpointError`` that lists names that are missing, unexpected, of another shape or kind, or not finite;
    warns of matrices that hold nothing but zeros, as a download leaves them that was not finished.
    """
    check_fit(module, weights, name)
    check_numbers(weights, name)
    module.load_state_dict(weights, assign=True)


def check_numbers(weights: Mapping[str, Tensor], name: str) -> None:
    """Reads the weights' data. Raises ``CheckpointError`` for NaN and infinity; warns of matrices of zeros."""
    absent, broken, blank = [key for key, value in weights.items() if value.is_meta], [], []
    if absent:
        raise CheckpointError(f"{name} holds no data for {len(absent)} weights: {_listed(absent)}; download again")
    for key, value in weights.items():
        low, high = _range(value)
        if not (math.isfinite(low) and math.isfinite(high)):
            broken.append(key)
        elif low == high == 0 and value.ndim > 1:
            blank.append(key)
    if broken:
        raise CheckpointError(
            f"{name} holds NaN or infinite values in {len(broken)} weights: {_listed(broken)}; delete it and download"
            " again"
        )
    if blank:
        warn(
            f"{name} holds nothing but zeros in {len(blank)} of {len(weights)} weights ({_listed(blank)}), as a"
            " download that was not finished: `streamt1 download` checks it"
        )


def all_finite(values: Tensor) -> bool:
    """Whether all are finite numbers; one pass, without a copy."""
    return all(map(math.isfinite, _range(values)))


def _range(values: Tensor) -> tuple[float, float]:
    """The least and the greatest, in one pass and without a copy; 0, 0 where there is nothing to look at."""
    if not values.numel() or not values.is_floating_point() or values.is_meta:
        return 0.0, 0.0
    low, high = torch.aminmax(values.detach())
    return low.item(), high.item()


def check_fit(module: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Names, shapes and types alone; see ``load_strictly``."""
    expected = module.state_dict()
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    shapes = [
        f"{key} is {list(weights[key].shape)}, expected {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {kind}: {_listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{name} does not fit the model; {'; '.join(problems)}; give the file that the preset names"
        )
    check_forms({key: weights[key] for key, tensor in expected.items() if tensor.is_floating_point()}, name)


def check_forms(weights: Mapping[str, Tensor], name: str) -> None:
    """Raises ``CheckpointError`` for weights that are not plain numbers of 16 bits or more."""
    odd = [key for key, value in weights.items() if value.layout != torch.strided or value.dtype not in FORMS.values()]
    if odd:
        kinds = sorted({str(weights[key].dtype).removeprefix("torch.") for key in odd})
        raise CheckpointError(
            f"{name} holds {len(odd)} weights that are not plain 16 or 32 bit numbers ({', '.join(kinds)}):"
            f" {_listed(odd)}; give the file before it was quantised or packed"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")


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
    check_weight_file(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            config = parse_json((file.metadata() or {})["config"])
            weights = {key: file.get_tensor(key).to(torch.float32) for key in file.keys()}  # noqa: SIM118
    except _DAMAGED as error:
        raise CheckpointError(f"the weights file {path} is damaged or not one of ours ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"the weights file {path} is not one of ours: its configuration holds no keys")
    return weights, config


def one_line(error: BaseException) -> str:
    """The first line of an error's message, without the colours that torch writes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().split("\n")[0][:160]


def _read_safetensors(path: Path) -> dict[str, object]:
    with safe_open(str(path), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _is_zip(path: Path) -> bool:
    """Files of torch before 1.6 are not, and cannot be mapped."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
