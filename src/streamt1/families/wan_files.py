"""Whether the files that a preset names are there, whole, and of the layout that is meant: before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from streamt1.config.load import load_config, preset_names
from streamt1.config.schema import RunConfig
from streamt1.core.errors import CheckpointError
from streamt1.core.weights import check_fit, layout_of
from streamt1.families.reward_files import check_hpsv3, check_videoreward
from streamt1.families.wan_sizes import wan_schedule, wan_sizes
from streamt1.hub.origins import Origin, locate, needed

OF_SIZE = {"1.3B": "longlive, self-forcing, reward-forcing or causal-forcing", "5B": "longlive2", "14B": "krea"}
"""Presets whose models have a size."""
TOKENIZER = ("tokenizer.json", "spiece.model", "vocab.json")
"""Any of them is a tokenizer's vocabulary."""


def file_of(config: RunConfig, name: str) -> Path:
    """Where a file of the configuration is. Raises ``ConfigError`` and ``CheckpointError``."""
    return locate(name, needed(config.files, name), Path(config.models) if config.models else None)


def check_files(config: RunConfig) -> None:
    """Every file that the configuration's models will read, by names, sizes and shapes; takes seconds.

    Raises:
        ConfigError: the configuration names no file for a model that it wants, or steps that cannot be.
        CheckpointError: the first file that is missing, not whole, of another kind, or that does not fit; one sentence.
    """
    wan_schedule(config)
    for check in (_check_transformer, _check_text, _check_decoder, _check_rewards):
        check(config)


def _check_transformer(config: RunConfig) -> None:
    from streamt1.backbones.wan.checkpoint import check_wan

    lora = file_of(config, "lora") if "lora" in config.files else None
    path = file_of(config, "transformer")
    if isinstance(config.files["transformer"], str):
        _check_name(path, config)
    check_wan(wan_sizes(config.wan), path, lora, config.wan.weights, OF_SIZE)


def _check_name(path: Path, config: RunConfig) -> None:
    """Models of one size differ in how they were trained, which no tensor shows: the publisher's name of a file may.

    Raises ``CheckpointError`` for a user's file of a name that other presets have, all of which sample otherwise.
    """
    named: dict[str, list[tuple[str, RunConfig]]] = {}
    for name in preset_names():
        other = load_config(name)
        origin = other.files.get("transformer")
        if isinstance(origin, Origin) and Path(origin.path).name == path.name:
            named.setdefault(origin.path, []).append((name, other))
    alike = [one for told, own in named.items() if len(named) == 1 or path.as_posix().endswith(told) for one in own]
    if alike and not any(_sampled(other) == _sampled(config) for _, other in alike):
        raise CheckpointError(
            f"{path} has the name of what preset {alike[0][0]} is made for, which samples otherwise: take --preset"
            f" {alike[0][0]}, or give the file another name"
        )


def _sampled(config: RunConfig) -> tuple[object, ...]:
    """How a model's chunks are made, which must be as it was trained."""
    wan = config.wan
    return config.memory.chunk, config.memory.rebuild, config.sampler, wan.steps, wan.first_steps, wan.weights


def _check_text(config: RunConfig) -> None:
    from streamt1.backbones.wan.text import check_tokenizer, empty_encoder, encoder_weights, read_tokenizer

    folder, words = file_of(config, "text_encoder"), file_of(config, "tokenizer")
    encoder, rows = empty_encoder(folder), wan_sizes(config.wan).text_dim
    check_fit(encoder, encoder_weights(folder, layout_of), str(folder))
    if encoder.config.d_model != rows:
        raise CheckpointError(
            f"{folder} encodes text into rows of {encoder.config.d_model}, the transformer reads rows of {rows}; give"
            " the text encoder of Wan2.1"
        )
    _check_vocabulary(words)
    check_tokenizer(read_tokenizer(words), encoder, words)


def _check_decoder(config: RunConfig) -> None:
    channels = wan_sizes(config.wan).in_channels
    if config.decoder == "wan":
        _check_vae(file_of(config, "vae"), channels)
    if config.draft == "taehv":
        from streamt1.decoders.taehv import taehv_of

        path = file_of(config, "draft")
        check_fit(*taehv_of(path, channels, layout_of), str(path))


def _check_vae(path: Path, channels: int) -> None:
    from streamt1.decoders.wan_vae import empty_vae, vae_weights

    vae = empty_vae(path)
    found = vae.config["z_dim"]
    if found != channels:
        raise CheckpointError(
            f"{path} decodes latents of {found} channels, the transformer's have {channels}; give the VAE of Wan2.1"
        )
    check_fit(vae, vae_weights(path, layout_of), str(path))


def _check_rewards(config: RunConfig) -> None:
    checks = {"hpsv3": check_hpsv3, "videoreward": check_videoreward}
    for name in (config.frame_reward, config.clip_reward):
        if name in checks:
            weights, base, template = (file_of(config, f"{name}{part}") for part in ("", "_base", "_template"))
            _check_vocabulary(base)
            checks[name](weights, base, template)


def _check_vocabulary(folder: Path) -> None:
    if not any((folder / name).is_file() for name in TOKENIZER):
        raise CheckpointError(f"{folder} holds no tokenizer ({', '.join(TOKENIZER)}); download the preset again")
