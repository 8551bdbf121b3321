"""From names to objects. A new backbone, codec or reward is one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from streamt1.assemble.config import RunConfig, WanSettings
from streamt1.assemble.files import locate, needed
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.core.protocols import Backbone, ClipReward, Codec, FrameReward
from streamt1.search.stages import World

if TYPE_CHECKING:
    from streamt1.backbones.wan.config import WanConfig
    from streamt1.backbones.wan.stepper import WanBackbone

T = TypeVar("T")
Builder = Callable[[RunConfig, torch.device], Any]
"""Imports what it builds only when it is asked, so that no preset needs what another one imports."""


def _pocket(weights: str) -> Builder:
    def builder(config: RunConfig, device: torch.device) -> Backbone:
        from streamt1.backbones.pocket.stepper import PocketBackbone

        return PocketBackbone(weights, config.memory, device, getattr(torch, config.dtype))

    return builder


def _pocket_codec(config: RunConfig, device: torch.device) -> Codec:
    from streamt1.codec.pocket_vae import PocketCodec

    return PocketCodec.bundled(device)


def _pocket_frame_reward(config: RunConfig, device: torch.device) -> FrameReward:
    from streamt1.rewards.pocket import PocketFrameReward

    return PocketFrameReward.bundled(device)


def _pocket_clip_reward(config: RunConfig, device: torch.device) -> ClipReward:
    from streamt1.rewards.pocket import PocketClipReward

    return PocketClipReward.bundled(device)


def _file(config: RunConfig, name: str) -> Path:
    return locate(name, needed(config.files, name), Path(config.models) if config.models else None)


def _wan(config: RunConfig, device: torch.device) -> Backbone:
    from streamt1.backbones.sampling import Schedule
    from streamt1.backbones.wan.checkpoint import load_wan
    from streamt1.backbones.wan.stepper import WanBackbone
    from streamt1.backbones.wan.text import WanText

    wan, dtype, sizes = config.wan, getattr(torch, config.dtype), wan_sizes(config.wan)
    lora = _file(config, "lora") if "lora" in config.files else None
    model = load_wan(sizes, _file(config, "transformer"), lora, wan.lora_alpha, dtype, device)
    stays = config.placement.text_encoder == "device"
    text = WanText.load(_file(config, "text_encoder"), _file(config, "tokenizer"), device, dtype, sizes.text_len, stays)
    size = (wan.height // 8, wan.width // 8)
    kv_device = "cpu" if config.placement.kv == "host" else None
    return WanBackbone(model, text, size, config.memory, Schedule(wan.steps, wan.shift), kv_device)


def wan_sizes(wan: WanSettings) -> WanConfig:
    """The transformer's sizes that settings name. Raises ``ConfigError``."""
    from streamt1.backbones.wan.config import SIZES, WanConfig

    if isinstance(wan.size, str):
        return _pick("size", SIZES, wan.size)
    known = {field.name for field in dataclasses.fields(WanConfig)}
    unknown = next((key for key in wan.size if key not in known), None)
    if unknown is not None:
        raise UnknownNameError("wan.size key", unknown, known)
    sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in wan.size.items()}
    return WanConfig(**sizes)


def _wan_codec(config: RunConfig, device: torch.device) -> Codec:
    from streamt1.codec.wan_vae import WanVAECodec

    dtype = getattr(torch, config.dtype)
    on_host = config.placement.decoder_states == "host"
    return WanVAECodec.load(_file(config, "vae"), device, dtype, config.wan.fps, config.batches.codec, on_host)


def _taehv(config: RunConfig, device: torch.device) -> Codec:
    from streamt1.codec.taehv import TAEHVCodec

    dtype = getattr(torch, config.dtype)
    channels = wan_sizes(config.wan).in_channels
    return TAEHVCodec.load(_file(config, "draft"), channels, device, dtype, config.wan.fps, config.batches.codec)


def _hpsv3(config: RunConfig, device: torch.device) -> FrameReward:
    from streamt1.rewards.hpsv3 import HPSv3Reward

    weights, base, template = (_file(config, f"hpsv3{part}") for part in ("", "_base", "_template"))
    dtype, place = getattr(torch, config.dtype), config.placement
    settings = (config.batches.frame_reward, place.rewards == "device", place.reward_bits)
    return HPSv3Reward.load(weights, base, template, device, dtype, *settings)


def _videoreward(config: RunConfig, device: torch.device) -> ClipReward:
    from streamt1.rewards.videoreward import VideoReward

    folder, base, template = (_file(config, f"videoreward{part}") for part in ("", "_base", "_template"))
    dtype, place = getattr(torch, config.dtype), config.placement
    settings = (config.batches.clip_reward, place.rewards == "device", place.reward_bits)
    return VideoReward.load(folder, base, template, device, dtype, *settings)


BACKBONES: dict[str, Builder] = {
    "pocket": _pocket("pocket_dit"),
    "pocket-base": _pocket("pocket_dit_base"),
    "wan": _wan,
}
CODECS: dict[str, Builder] = {"pocket": _pocket_codec, "wan": _wan_codec, "taehv": _taehv}
FRAME_REWARDS: dict[str, Builder] = {"pocket": _pocket_frame_reward, "hpsv3": _hpsv3}
CLIP_REWARDS: dict[str, Builder] = {"pocket": _pocket_clip_reward, "videoreward": _videoreward}


def build(config: RunConfig) -> World:
    """Loads everything that a run needs.

    Raises:
        UnknownNameError: a name that is not registered.
        ConfigError: a device that this machine lacks, or ``compile`` where torch finds nothing to compile with.
        CheckpointError: weights that are missing or damaged.
    """
    device = resolve_device(config.device)
    if config.compile:
        _check_compiler(device)
    backbone: WanBackbone = _pick("backbone", BACKBONES, config.backbone)(config, device)
    if config.compile:
        backbone.model.compile_blocks()
    codec: Codec = _pick("codec", CODECS, config.codec)(config, device)
    frame_reward: FrameReward = _pick("frame reward", FRAME_REWARDS, config.frame_reward)(config, device)
    clip_reward: ClipReward = _pick("clip reward", CLIP_REWARDS, config.clip_reward)(config, device)
    draft: Codec | None = _pick("draft codec", CODECS, config.draft)(config, device) if config.draft else None
    return World(backbone, codec, frame_reward, clip_reward, draft)


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one. Raises ``ConfigError`` for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    return device


def _check_compiler(device: torch.device) -> None:
    """Raises ``ConfigError`` now, and not in the middle of the first chunk."""
    try:
        torch.compile(lambda x: x.exp() + 1)(torch.zeros(1, device=device))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"compile: true does not work here ({reason}); install a C++ compiler (for CUDA, Triton), or leave it out"
        ) from error


def _pick(kind: str, table: Mapping[str, T], name: str) -> T:
    if name not in table:
        raise UnknownNameError(kind, name, table)
    return table[name]
