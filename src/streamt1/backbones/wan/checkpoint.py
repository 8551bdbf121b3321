"""Official weights of causal Wan transformers: LongLive, Self-Forcing, Reward Forcing, Wan2.1 (SPEC section 6)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.wan.config import SIZES, WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.core.errors import CheckpointError, warn
from streamt1.core.json_files import read_json
from streamt1.core.weights import (
    check_fit,
    check_forms,
    check_numbers,
    load_strictly,
    read_layout,
    read_tensors,
    unwrapped,
)

CONTAINERS = ("generator_ema", "generator", "model", "state_dict")
"""Keys under which training checkpoints keep the transformer, best first."""
LORA_CONTAINERS = ("generator_lora", "state_dict")
ADAPTER = "adapter_config.json"
"""PEFT's own file beside a LoRA; it tells the scale."""
_LORA = re.compile(r"(?:base_model\.model\.)?(?P<name>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")

_DIFFUSERS = {
    "condition_embedder.time_embedder.linear_1.": "time_embedding.0.",
    "condition_embedder.time_embedder.linear_2.": "time_embedding.2.",
    "condition_embedder.text_embedder.linear_1.": "text_embedding.0.",
    "condition_embedder.text_embedder.linear_2.": "text_embedding.2.",
    "condition_embedder.time_proj.": "time_projection.1.",
    "proj_out.": "head.head.",
    ".attn1.": ".self_attn.",
    ".attn2.": ".cross_attn.",
    ".to_q.": ".q.",
    ".to_k.": ".k.",
    ".to_v.": ".v.",
    ".to_out.0.": ".o.",
    ".ffn.net.0.proj.": ".ffn.0.",
    ".ffn.net.2.": ".ffn.2.",
    ".norm2.": ".norm3.",
    ".scale_shift_table": ".modulation",
}


def load_wan(
    config: WanConfig,
    weights: Path,
    lora: Path | None = None,
    lora_alpha: float | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> WanModel:
    """A transformer with official weights, for evaluation.

    Args:
        config: its sizes; see :func:`read_config` for what a file says itself.
        weights: a file or folder in any of the official layouts.
        lora: low-rank updates in PEFT's names; merged in float32, so that they cost nothing later.
        lora_alpha: scale of the updates times their rank; None means what ``adapter_config.json`` beside the file says,
            or equal to the rank. Warned of where it is not the rank.

    Raises:
        CheckpointError: a file that is missing, damaged, pickled with code, or does not fit; it names what.
    """
    state = read_wan(weights)
    if lora is not None:
        state = merge_lora(state, read_tensors(lora), told_alpha(lora, lora_alpha), str(lora))
    with torch.device("meta"):
        model = WanModel(config)
    load_strictly(model, state, str(weights))
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


def check_wan(config: WanConfig, weights: Path, lora: Path | None = None) -> None:
    """Whether files fit a transformer, by names, shapes and types alone. Raises ``CheckpointError``."""
    state = read_wan(weights, read_layout)
    _check_size(config, state, str(weights))
    with torch.device("meta"):
        model = WanModel(config)
    check_fit(model, state, str(weights))
    if lora is None:
        return
    told_alpha(lora, None)
    ranks = set[int]()
    for name, (down, up) in _lora_pairs(read_layout(lora), str(lora)):
        _check_update(f"{name}.weight", down, up, state, str(lora))
        ranks.add(len(down))
    _check_ranks(lora, ranks)


def _check_size(config: WanConfig, state: Mapping[str, Tensor], source: str) -> None:
    """Names another model's size as that, where a list of shapes would only puzzle."""
    try:
        dim, layers = len(state["patch_embedding.weight"]), _layers(state)
    except (KeyError, TypeError):
        return
    if dim != config.dim:
        named = next(
            (f' ("{name}")' for name, size in SIZES.items() if (size.dim, size.num_layers) == (dim, layers)), ""
        )
        raise CheckpointError(
            f"{source} is a transformer of width {dim} and {layers} layers{named}, but the preset's has width"
            f" {config.dim} and {config.num_layers} layers: set wan.size, or give the other file"
        )


def _layers(state: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[1] for key in state if key.startswith("blocks.")})


def read_wan(path: Path, read: Callable[[Path], dict[str, object]] = read_tensors) -> dict[str, Tensor]:
    """The transformer's weights under the names of :class:`WanModel`, whatever layout the file has."""
    state = _contents(read(path), CONTAINERS, str(path))
    named = {_plain(key): value for key, value in state.items()}
    if any(key.startswith("condition_embedder.") for key in named):
        named = {_from_diffusers(key): value for key, value in named.items()}
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


def told_alpha(lora: Path, alpha: float | None) -> float | None:
    """The alpha to use: the one that is given, else the one of ``adapter_config.json`` beside the updates.

    Raises ``CheckpointError`` for an adapter_config.json that cannot be read, or scales in ways that are not supported;
    warns where the two differ.
    """
    adapter = _adapter(lora)
    if adapter is None:
        return alpha
    file = _adapter_file(lora)
    told = adapter.get("lora_alpha")
    if isinstance(told, bool) or not isinstance(told, (int, float)) or not math.isfinite(told) or told <= 0:
        raise CheckpointError(f"{file} tells no lora_alpha; mend it, or take it away and set wan.lora_alpha")
    special = next((key for key in ("use_rslora", "use_dora", "alpha_pattern") if adapter.get(key)), None)
    if special is not None:
        raise CheckpointError(f"{file} asks for {special}, which is not supported: merge the updates with PEFT first")
    if alpha is not None and alpha != told:
        warn(f"wan.lora_alpha={alpha:g} is used, but {file} says {told:g}")
    return float(told) if alpha is None else alpha


def _adapter_file(lora: Path) -> Path:
    return (lora if lora.is_dir() else lora.parent) / ADAPTER


def _adapter(lora: Path) -> dict[str, Any] | None:
    """PEFT's own settings of the updates, where they lie beside them."""
    file = _adapter_file(lora)
    return read_json(file) if file.exists() or file.is_symlink() else None


def _check_ranks(lora: Path, ranks: set[int]) -> None:
    """The updates have the rank that PEFT's settings tell, if they tell one."""
    adapter = _adapter(lora) or {}
    told = adapter.get("r")
    if told is not None and not adapter.get("rank_pattern") and ranks != {told}:
        found = ", ".join(map(str, sorted(ranks)))
        raise CheckpointError(
            f"{lora} has updates of rank {found}, but {_adapter_file(lora)} says {told}: they do not belong together"
        )


def merge_lora(
    state: Mapping[str, Tensor], lora: Mapping[str, object], alpha: float | None, source: str
) -> dict[str, Tensor]:
    """``W + alpha / rank * B A`` in float32, cast back to W's dtype.

    Raises ``CheckpointError`` for an update that is incomplete, misshapen, or of a weight that is not there.
    """
    merged, ranks = dict(state), set[int]()
    pairs = dict(_lora_pairs(lora, source))
    for side in range(2):
        check_numbers({name: pair[side] for name, pair in pairs.items()}, source)
    for name, (down, up) in pairs.items():
        key = f"{name}.weight"
        _check_update(key, down, up, merged, source)
        weight, rank = merged[key], down.shape[0]
        ranks.add(rank)
        scale = 1.0 if alpha is None else alpha / rank
        merged[key] = (weight.float() + scale * (up.float() @ down.float())).to(weight.dtype)
    _warn_of_gaps(pairs, source)
    found = ", ".join(map(str, sorted(ranks)))
    if alpha is not None and ranks != {int(alpha)}:
        warn(f"{source} has updates of rank {found}, and alpha={alpha:g} scales them {alpha / max(ranks):g}-fold")
    elif len(ranks) > 1:
        warn(f"{source} has updates of different ranks: {found}")
    return merged


def _warn_of_gaps(names: Iterable[str], source: str) -> None:
    """Warns where some blocks have an update that others lack, as a file does that was cut or saved in parts."""
    blocks: dict[str, set[str]] = {}
    for name in names:
        if name.startswith("blocks."):
            _, block, layer = name.split(".", 2)
            blocks.setdefault(layer, set()).add(block)
    everywhere = set[str]().union(*blocks.values())
    for layer, having in blocks.items():
        if having != everywhere:
            warn(f"{source} updates {layer} in {len(having)} blocks, and other layers in {len(everywhere)}")
            return


def _check_update(key: str, down: Tensor, up: Tensor, state: Mapping[str, Tensor], source: str) -> None:
    if key not in state:
        raise CheckpointError(f"{source} updates {key}, which the model does not have")
    shape = state[key].shape
    check_forms({key: down, f"{key} (B)": up}, source)
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0] or shape != (up.shape[0], down.shape[1]):
        raise CheckpointError(
            f"{source}: the update of {key} is {list(up.shape)} x {list(down.shape)}, the weight {list(shape)}"
        )


def _lora_pairs(lora: Mapping[str, object], source: str) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    sides: dict[str, dict[str, Tensor]] = {}
    for key, value in _contents(lora, LORA_CONTAINERS, source).items():
        match = _LORA.fullmatch(unwrapped(key))
        if match is None:
            raise CheckpointError(f"{source}: {key!r} is not the name of a LoRA weight")
        sides.setdefault(_plain(match["name"]), {})[match["side"]] = value
    if not sides:
        raise CheckpointError(f"{source} holds no LoRA weights")
    for name, pair in sides.items():
        if len(pair) < 2:
            raise CheckpointError(f"{source}: the update of {name} lacks its lora_{'B' if 'A' in pair else 'A'}")
        yield name, (pair["A"], pair["B"])


def _contents(loaded: Mapping[str, Any], containers: tuple[str, ...], source: str) -> Mapping[str, Tensor]:
    """The weights themselves, taken out of the dictionary that a training run saved."""
    while inner := next((key for key in containers if isinstance(loaded.get(key), Mapping)), None):
        loaded = loaded[inner]
    strange = [key for key, value in loaded.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if strange or not loaded:
        found = ", ".join(sorted(map(str, loaded))[:8]) or "nothing"
        raise CheckpointError(f"{source} holds no weights under {', '.join(containers)}, only: {found}")
    return loaded


def _plain(name: str) -> str:
    """Without what wrappers of training and compilers put before and into names."""
    return re.sub(r"^(?:(?:module|model)\.)+", "", unwrapped(name))


def _from_diffusers(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    for theirs, ours in _DIFFUSERS.items():
        if theirs in f".{name}" or theirs in name:
            name = name.replace(theirs, ours)
    return name
