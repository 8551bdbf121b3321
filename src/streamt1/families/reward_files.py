"""Whether the files of the official rewards are theirs, whole, and fit together: before any model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from streamt1.core.errors import CheckpointError, StreamT1Error
from streamt1.core.json_files import read_sizes
from streamt1.core.weights import check_fit, layout_of, one_line
from streamt1.rewards.templates import read_constants

if TYPE_CHECKING:
    from streamt1.rewards.network import Qwen2VL


def check_hpsv3(weights: Path, base: Path, template: Path) -> None:
    """Names, shapes and types of HPSv3's file, its words and its template. Raises ``CheckpointError``."""
    from streamt1.rewards.hpsv3 import MARKS, TEMPLATE, reward_head

    read_constants(template, TEMPLATE)
    model = _empty(base, MARKS, "image")
    state = layout_of(weights)
    heads = {key.removeprefix("rm_head."): value for key, value in state.items() if "rm_head." in key}
    if not heads:
        raise CheckpointError(f"{weights} has no head of a reward (rm_head.*): it is not HPSv3's")
    _check_body(model, {key: value for key, value in state.items() if "rm_head." not in key}, weights)
    check_fit(reward_head(model.hidden), heads, f"{weights}, rm_head")


def check_videoreward(folder: Path, base: Path, template: Path) -> None:
    """The same for VideoReward's folder. Raises ``CheckpointError``."""
    from streamt1.rewards.videoreward import (
        MARKS,
        TEMPLATE,
        Settings,
        head_of,
        plain_names,
        weights_file,
        with_updates,
    )

    read_constants(template, TEMPLATE)
    settings, file = Settings.read(folder / "model_config.json"), weights_file(folder)
    model = _empty(base, MARKS, "video")
    state = plain_names(layout_of(file))
    head = head_of(state, file)
    try:
        with_updates(model, state, settings.lora_scale)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}; give the file that the preset names") from error
    _check_body(model, state, file)
    check_fit(nn.Linear(model.hidden, settings.outputs, bias=False), head, f"{file}, rm_head")


def _empty(base: Path, marks: tuple[str, ...], vision: str) -> Qwen2VL:
    """Qwen2-VL in the sizes of a folder of its repository, on the meta device, with rows for all of its words."""
    from streamt1.rewards.network import Qwen2VL
    from streamt1.rewards.words import Words

    file = base / "config.json"
    kind = read_sizes(file).get("model_type", "none")
    if kind != "qwen2_vl":
        raise CheckpointError(f"{file} is of a model of type {kind}, not of Qwen2-VL; download it again")
    try:
        return Qwen2VL(base, Words(base, marks, vision).size)
    except StreamT1Error:
        raise
    except Exception as error:  # whatever transformers and tokenizers raise for files of the wrong kind
        told = f"{base} holds no configuration and tokenizer of Qwen2-VL: {one_line(error)}; download it again"
        raise CheckpointError(told) from error


def _check_body(model: Qwen2VL, weights: dict[str, Tensor], file: Path) -> None:
    """As ``Qwen2VL.load`` names them."""
    from streamt1.rewards.network import modern_names

    check_fit(model.qwen, modern_names(weights), str(file))
