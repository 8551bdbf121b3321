"""Official weights of causal Wan transformers: LongLive, Self-Forcing, Reward Forcing, Wan2.1 (SPEC section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.core.errors import CheckpointError
from streamt1.core.weights import load_strictly, read_tensors

CONTAINERS = ("generator_ema", "generator", "model")
"""Keys under which training checkpoints keep the transformer, best first."""
LORA_CONTAINERS = ("generator_lora",)
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
        lora_alpha: scale of the updates times their rank; None means equal to the rank.

    Raises:
        CheckpointError: a file that is missing, damaged, pickled with code, or does not fit; it names what.
    """
    state = read_wan(weights)
    if lora is not None:
        state = merge_lora(state, read_tensors(lora), lora_alpha, str(lora))
    with torch.device("meta"):
        model = WanModel(config)
    load_strictly(model, state, str(weights))
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


def read_wan(path: Path) -> dict[str, Tensor]:
    """The transformer's weights under the names of :class:`WanModel`, whatever layout the file has."""
    state = _contents(read_tensors(path), CONTAINERS, str(path))
    named = {_plain(key): value for key, value in state.items()}
    if any(key.startswith("condition_embedder.") for key in named):
        named = {_from_diffusers(key): value for key, value in named.items()}
    return named


def read_config(state: Mapping[str, Tensor], head_dim: int = 128) -> WanConfig:
    """The sizes that weights have; heads cannot be seen in them, so their size is an argument (128 in all of Wan)."""
    try:
        embedding, layers = state["patch_embedding.weight"], {key.split(".")[1] for key in state if "blocks." in key}
        dim, patch = embedding.shape[0], tuple(embedding.shape[2:])
        return WanConfig(
            dim=dim,
            ffn_dim=state["blocks.0.ffn.0.weight"].shape[0],
            num_layers=len(layers),
            num_heads=dim // head_dim,
            in_channels=embedding.shape[1],
            out_channels=state["head.head.weight"].shape[0] // (patch[0] * patch[1] * patch[2]),
            patch_size=(patch[0], patch[1], patch[2]),
            text_dim=state["text_embedding.0.weight"].shape[1],
            freq_dim=state["time_embedding.0.weight"].shape[1],
        )
    except KeyError as error:
        raise CheckpointError(f"these are not the weights of a Wan transformer: {error} is missing") from error


def merge_lora(
    state: Mapping[str, Tensor], lora: Mapping[str, object], alpha: float | None, source: str
) -> dict[str, Tensor]:
    """``W + alpha / rank * B A`` in float32, cast back to W's dtype.

    Raises ``CheckpointError`` for an update that is incomplete, misshapen, or of a weight that is not there.
    """
    merged = dict(state)
    for name, (down, up) in _lora_pairs(lora, source):
        key = f"{name}.weight"
        if key not in merged:
            raise CheckpointError(f"{source} updates {key}, which the model does not have")
        weight, rank = merged[key], down.shape[0]
        if up.shape[1] != rank or weight.shape != (up.shape[0], down.shape[1]):
            raise CheckpointError(
                f"{source}: the update of {key} is {list(up.shape)} x {list(down.shape)},"
                f" the weight {list(weight.shape)}"
            )
        scale = 1.0 if alpha is None else alpha / rank
        merged[key] = (weight.float() + scale * (up.float() @ down.float())).to(weight.dtype)
    return merged


def _lora_pairs(lora: Mapping[str, object], source: str) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    sides: dict[str, dict[str, Tensor]] = {}
    for key, value in _contents(lora, LORA_CONTAINERS, source).items():
        match = _LORA.fullmatch(key)
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
    for key in containers:
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    strange = [key for key, value in loaded.items() if not isinstance(value, Tensor)]
    if strange or not loaded:
        found = ", ".join(sorted(map(str, loaded))[:8]) or "nothing"
        raise CheckpointError(f"{source} holds no weights under {', '.join(containers)}, only: {found}")
    return loaded


def _plain(name: str) -> str:
    """Without what wrappers of training put before and into names."""
    return name.replace("_fsdp_wrapped_module.", "").removeprefix("model.")


def _from_diffusers(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    for theirs, ours in _DIFFUSERS.items():
        if theirs in f".{name}" or theirs in name:
            name = name.replace(theirs, ours)
    return name
