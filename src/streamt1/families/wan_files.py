"""Whether the files that a preset names are there, whole, and of the layout that is meant: before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamt1.config.schema import RunConfig
from streamt1.core.errors import CheckpointError
from streamt1.core.weight_files import check_weight_file, weight_files
from streamt1.core.weights import check_fit, read_layout
from streamt1.families.wan_sizes import wan_sizes
from streamt1.hub.origins import locate, needed

TOKENIZER = ("tokenizer.json", "spiece.model", "vocab.json")
"""Any of them is a tokenizer's vocabulary."""


def file_of(config: RunConfig, name: str) -> Path:
    """Where a file of the configuration is. Raises ``ConfigError`` and ``CheckpointError``."""
    return locate(name, needed(config.files, name), Path(config.models) if config.models else None)


def check_files(config: RunConfig) -> None:
    """Every file that the configuration's models will read, by names, sizes and shapes; takes seconds.

    Raises:
        ConfigError: the configuration names no file for a model that it wants.
        CheckpointError: the first file that is missing, not whole, of another kind, or that does not fit; one sentence.
    """
    for check in (_check_transformer, _check_text, _check_decoder, _check_rewards):
        check(config)


def _check_transformer(config: RunConfig) -> None:
    from streamt1.backbones.wan.checkpoint import check_wan

    lora = file_of(config, "lora") if "lora" in config.files else None
    check_wan(wan_sizes(config.wan), file_of(config, "transformer"), lora)


def _check_text(config: RunConfig) -> None:
    from streamt1.backbones.wan.text import empty_encoder, encoder_weights

    folder = file_of(config, "text_encoder")
    check_fit(empty_encoder(folder), encoder_weights(folder, read_layout), str(folder))
    _check_tokenizer(file_of(config, "tokenizer"))


def _check_decoder(config: RunConfig) -> None:
    from streamt1.decoders.wan_vae import empty_vae, vae_weights

    if config.decoder == "wan":
        path = file_of(config, "vae")
        check_fit(empty_vae(path), vae_weights(path, read_layout), str(path))
    if config.draft is not None:
        _check_whole(file_of(config, "draft"))


def _check_rewards(config: RunConfig) -> None:
    found: dict[str, Callable[[Path], Path]] = {}
    if config.frame_reward == "hpsv3":
        found["hpsv3"] = lambda path: path
    if config.clip_reward == "videoreward":
        from streamt1.rewards.videoreward import weights_file

        found["videoreward"] = weights_file
    for name, weights in found.items():
        _check_whole(weights(file_of(config, name)))
        _check_tokenizer(file_of(config, f"{name}_base"))
        file_of(config, f"{name}_template")


def _check_whole(path: Path) -> None:
    for file in weight_files(path):
        check_weight_file(file)


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in TOKENIZER):
        raise CheckpointError(f"{folder} holds no tokenizer ({', '.join(TOKENIZER)}); download the preset again")
