"""Official weights of causal Wan transformers: LongLive, Self-Forcing, Reward Forcing, Wan2.1 (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from streamt1.backbones.wan.config import SIZES, WanConfig
from streamt1.backbones.wan.lora import check_ranks, check_update, merge_lora, read_updates, told_alpha
from streamt1.backbones.wan.model import WanModel
from streamt1.backbones.wan.names import contents, from_diffusers, plain
from streamt1.core.errors import CheckpointError, warn
from streamt1.core.weights import check_fit, load_strictly, read_layout, read_tensors

TRAINED = ("generator_ema", "generator")
"""Keys under which training checkpoints keep the transformer: averaged over training, and as it was at its end."""
CONTAINERS = ("model", "state_dict")
"""Keys of other files."""
PACKED = "quantized_weight_values"
"""What names end with in files of NVFP4."""


def load_wan(
    config: WanConfig,
    weights: Path,
    lora: Path | None = None,
    lora_alpha: float | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    taken: str | None = None,
) -> WanModel:
    """A transformer with official weights, for evaluation.

    Args:
        config: its sizes; see :func:`read_config` for what a file says itself.
        weights: a file or folder in any of the official layouts.
        lora: low-rank updates, see ``wan.lora``; merged in float32, so that they cost nothing later.
        lora_alpha: scale of the updates times their rank; None means what ``adapter_config.json`` beside the file says,
            or equal to the rank. Warned of where it is not the rank.
        taken: ``generator`` or ``generator_ema``, of a training checkpoint; None means what there is, or the latter.

    Raises:
        CheckpointError: a file that is missing, damaged, pickled with code, or does not fit; it names what.
    """
    state = read_wan(weights, taken=taken)
    if lora is not None:
        state = merge_lora(state, read_tensors(lora), told_alpha(lora, lora_alpha), str(lora))
    with torch.device("meta"):
        model = WanModel(config)
    load_strictly(model, state, str(weights))
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


def check_wan(
    config: WanConfig,
    weights: Path,
    lora: Path | None = None,
    taken: str | None = None,
    presets: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Whether files fit a transformer, by names, shapes and types alone.

    Args:
        presets: what to take for a model of another size, by its name.

    Raises ``CheckpointError``.
    """
    state = read_wan(weights, read_layout, taken)
    _check_size(config, state, str(weights), presets)
    with torch.device("meta"):
        model = WanModel(config)
    check_fit(model, state, str(weights))
    if lora is None:
        return
    told_alpha(lora, None)
    updates = read_updates(read_layout(lora), state, str(lora))
    for name, update in updates.items():
        check_update(f"{name}.weight", update, state, str(lora))
    check_ranks(lora, {len(update.down) for update in updates.values()})


def _check_size(config: WanConfig, state: Mapping[str, Tensor], source: str, presets: Mapping[str, str]) -> None:
    """Names another model's size as that, where a list of shapes would only puzzle."""
    try:
        dim, layers = len(state["patch_embedding.weight"]), _layers(state)
    except (KeyError, TypeError):
        return
    if dim != config.dim:
        found = next((name for name, size in SIZES.items() if (size.dim, size.num_layers) == (dim, layers)), None)
        named = f' ("{found}")' if found else ""
        take = f"take preset {presets[found]}" if found and found in presets else "set wan.size"
        raise CheckpointError(
            f"{source} is a transformer of width {dim} and {layers} layers{named}, but the preset's has width"
            f" {config.dim} and {config.num_layers} layers: {take}, or give the other file"
        )


def _layers(state: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[1] for key in state if key.startswith("blocks.")})


def read_wan(
    path: Path, read: Callable[[Path], dict[str, object]] = read_tensors, taken: str | None = None
) -> dict[str, Tensor]:
    """The transformer's weights under the names of :class:`WanModel`, whatever layout the file has.

    ``taken``: see ``load_wan``. Raises ``CheckpointError``.
    """
    loaded = read(path)
    there = [key for key in TRAINED if isinstance(loaded.get(key), Mapping)]
    if taken is not None and there and taken not in there:
        raise CheckpointError(
            f"{path} holds {there[0]}, and not {taken}: set wan.weights={there[0]}, or give another file"
        )
    if taken is None and len(there) > 1 and read is read_tensors:
        warn(f"{path} holds {' and '.join(there)}, and {there[0]} is taken; wan.weights says which")
    keys = dict.fromkeys((*([taken] if taken else ()), *TRAINED, *CONTAINERS))
    state = contents(loaded, tuple(keys), str(path))
    if any(key.endswith(PACKED) for key in state):
        raise CheckpointError(f"{path} is packed in 4 bits (NVFP4), which is not supported: give the file in bfloat16")
    named = {plain(key): value for key, value in state.items()}
    if any(key.startswith("condition_embedder.") for key in named):
        named = {from_diffusers(key): value for key, value in named.items()}
    return named


def read_config(state: Mapping[str, Tensor], head_dim: int = 128) -> WanConfig:
    """The sizes that weights have; heads cannot be seen in them, so their size is an argument (128 in all of Wan)."""
    try:
        embedding = state["patch_embedding.weight"]
        dim, patch = embedding.shape[0], tuple(embedding.shape[2:])
        return WanConfig(
            dim=dim,
            ffn_dim=state["blocks.0.ffn.0.weight"].shape[0],
            num_layers=_layers(state),
            num_heads=dim // head_dim,
            in_channels=embedding.shape[1],
            out_channels=state["head.head.weight"].shape[0] // (patch[0] * patch[1] * patch[2]),
            patch_size=(patch[0], patch[1], patch[2]),
            text_dim=state["text_embedding.0.weight"].shape[1],
            freq_dim=state["time_embedding.0.weight"].shape[1],
        )
    except KeyError as error:
        raise CheckpointError(f"these are not the weights of a Wan transformer: {error} is missing") from error
