"""Low-rank updates (LoRA) of a Wan transformer, in the layouts that are in use, merged in float32.

Layouts: PEFT's (``base_model.model.NAME.lora_A.weight``), the same under ``diffusion_model.`` (ComfyUI) or
``transformer.`` (diffusers, in its own names), and kohya's (``lora_unet_NAME.lora_down.weight`` with underscores for
dots). A scalar ``NAME.alpha``, where there is one, scales its update by alpha over rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from streamt1.backbones.wan.names import contents, from_diffusers, plain
from streamt1.core.errors import CheckpointError, warn
from streamt1.core.json_files import read_json
from streamt1.core.weights import check_forms, check_numbers, unwrapped

CONTAINERS = ("generator_lora", "state_dict")
ADAPTER = "adapter_config.json"
"""PEFT's own file beside a LoRA; it tells the scale."""
_PART = re.compile(r"(?P<name>.+)\.(?:lora_(?P<side>A|B|down|up)(?:\.default)?\.weight|(?P<alpha>alpha))")
_PREFIX = re.compile(r"(?:base_model\.model\.|diffusion_model\.|transformer\.)+")
_KOHYA = re.compile(r"lora_(?:unet|transformer)_(?P<name>\w+)")
OTHER_LAYOUTS = {
    ".hada_": "LoHa (LyCORIS)",
    ".lokr_": "LoKr (LyCORIS)",
    ".lora_mid.": "LoCon with a middle matrix (LyCORIS)",
    ".dora_scale": "DoRA",
    "magnitude_vector": "DoRA",
    ".diff": "whole differences of weights",
}
"""What names say of layouts that are no plain low-rank updates."""


@dataclass(frozen=True)
class Update:
    """Of one weight: ``alpha / rank * up @ down``.

    Attributes:
        down: ``[rank, in]``.
        up: ``[out, rank]``.
        alpha: as the file tells it for this weight; None where it does not.
    """

    down: Tensor
    up: Tensor
    alpha: Tensor | None = None


def merge_lora(
    state: Mapping[str, Tensor], lora: Mapping[str, object], alpha: float | None, source: str
) -> dict[str, Tensor]:
    """``W + alpha / rank * B A`` in float32, cast back to W's dtype.

    Args:
        alpha: of all updates; None means what the file tells for each, or equal to its rank.

    Raises ``CheckpointError`` for an update that is incomplete, misshapen, or of a weight that is not there, and for
    layouts that are no plain low-rank updates, by their names.
    """
    merged, updates = dict(state), read_updates(lora, state, source)
    for side in ("down", "up"):
        check_numbers({name: getattr(update, side) for name, update in updates.items()}, source)
    for name, update in updates.items():
        key = f"{name}.weight"
        check_update(key, update, merged, source)
        weight, scale = merged[key], _scale(update, alpha, key, source)
        merged[key] = (weight.float() + scale * (update.up.float() @ update.down.float())).to(weight.dtype)
    _warn_of_gaps(updates, source)
    _warn_of_scales(updates.values(), alpha, source)
    return merged


def read_updates(lora: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> dict[str, Update]:
    """The updates of a file by the names of the weights that they are for, without ``.weight``.

    Args:
        state: the transformer's weights; kohya's names can only be read beside them.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    spelt = {key.removesuffix(".weight").replace(".", "_"): key.removesuffix(".weight") for key in state}
    for key, value in contents(lora, CONTAINERS, source).items():
        layout = next((named for mark, named in OTHER_LAYOUTS.items() if mark in key), None)
        if layout is not None:
            raise CheckpointError(
                f"{source} is in the layout of {layout} ({key!r}): merge it with the tool that made it"
            )
        match = _PART.fullmatch(unwrapped(key))
        if match is None:
            raise CheckpointError(f"{source}: {key!r} is not the name of a LoRA weight")
        side = {"A": "down", "B": "up", None: "alpha"}.get(match["side"], match["side"])
        parts.setdefault(_weight_name(match["name"], spelt), {})[side] = value
    if not parts:
        raise CheckpointError(f"{source} holds no LoRA weights")
    for name, found in parts.items():
        missing = next((side for side in ("down", "up") if side not in found), None)
        if missing is not None:
            raise CheckpointError(f"{source}: the update of {name} lacks its lora_{'A' if missing == 'down' else 'B'}")
    return {name: Update(**found) for name, found in parts.items()}


def _weight_name(name: str, spelt: Mapping[str, str]) -> str:
    """The transformer's own name of a weight; ``spelt``: its names by what kohya makes of them."""
    kohya = _KOHYA.fullmatch(name)
    if kohya is not None:
        return spelt.get(kohya["name"], kohya["name"])
    name = plain(_PREFIX.sub("", name, count=1))
    return from_diffusers(f"{name}.weight").removesuffix(".weight")


def check_update(key: str, update: Update, state: Mapping[str, Tensor], source: str) -> None:
    """Raises ``CheckpointError`` for an update that does not fit its weight."""
    if key not in state:
        raise CheckpointError(f"{source} updates {key}, which the model does not have")
    down, up, shape = update.down, update.up, state[key].shape
    check_forms({key: down, f"{key} (B)": up}, source)
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0] or shape != (up.shape[0], down.shape[1]):
        raise CheckpointError(
            f"{source}: the update of {key} is {list(up.shape)} x {list(down.shape)}, the weight {list(shape)}"
        )


def _scale(update: Update, alpha: float | None, key: str, source: str) -> float:
    rank = update.down.shape[0]
    if alpha is not None:
        return alpha / rank
    if update.alpha is None:
        return 1.0
    told = update.alpha.float().flatten()
    if len(told) != 1 or not math.isfinite(told.item()) or told.item() <= 0:
        raise CheckpointError(f"{source}: the alpha of {key} is no number above 0; mend it, or set wan.lora_alpha")
    return told.item() / rank


def _warn_of_scales(updates: Iterable[Update], alpha: float | None, source: str) -> None:
    """Warns where a scale is probably not meant."""
    ranks = {len(update.down) for update in updates}
    told = {float(update.alpha.float().flatten()[0]) for update in updates if update.alpha is not None}
    found = ", ".join(map(str, sorted(ranks)))
    if alpha is not None and told and told != {alpha}:
        warn(f"wan.lora_alpha={alpha:g} is used, but {source} says {', '.join(f'{one:g}' for one in sorted(told))}")
    if alpha is not None and ranks != {int(alpha)}:
        warn(f"{source} has updates of rank {found}, and alpha={alpha:g} scales them {alpha / max(ranks):g}-fold")
    elif alpha is None and not told and len(ranks) > 1:
        warn(f"{source} has updates of different ranks: {found}")


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


def check_ranks(lora: Path, ranks: set[int]) -> None:
    """The updates have the rank that PEFT's settings tell, if they tell one."""
    adapter = _adapter(lora) or {}
    told = adapter.get("r")
    if told is not None and not adapter.get("rank_pattern") and ranks != {told}:
        found = ", ".join(map(str, sorted(ranks)))
        raise CheckpointError(
            f"{lora} has updates of rank {found}, but {_adapter_file(lora)} says {told}: they do not belong together"
        )
