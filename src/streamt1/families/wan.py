"""The Wan family: LongLive 1 and 2, Self-Forcing, Causal-Forcing, Reward Forcing, Krea, with HPSv3 and VideoReward."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.errors import PromptError
from streamt1.core.protocols import Backbone, ClipReward, Decoder, Encoder, FrameReward
from streamt1.families.family import Family
from streamt1.families.wan_files import check_files, file_of
from streamt1.families.wan_memory import GB, needs, pages_read, spare
from streamt1.families.wan_sizes import latent_size, wan_schedule, wan_sizes

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    from streamt1.backbones.sampling import Schedule
    from streamt1.backbones.wan.model import WanModel
    from streamt1.decoders.recompute import RecomputingDecoder
    from streamt1.decoders.wan_vae import WanVAEDecoder


def _backbone(config: RunConfig, device: torch.device) -> Backbone:
    from streamt1.backbones.wan.checkpoint import load_wan
    from streamt1.backbones.wan.text import WanText
    from streamt1.decoders.wan_vae import load_vae

    wan, dtype, sizes = config.wan, getattr(torch, config.dtype), wan_sizes(config.wan)
    lora = file_of(config, "lora") if "lora" in config.files else None
    model = load_wan(sizes, file_of(config, "transformer"), lora, wan.lora_alpha, dtype, device, wan.weights)
    stays = config.placement.text_encoder == "device"
    text = WanText.load(
        file_of(config, "text_encoder"), file_of(config, "tokenizer"), device, dtype, sizes.text_len, stays
    )
    return backbone_over(config, model, text, lambda: load_vae(file_of(config, "vae"), device, dtype))


def backbone_over(
    config: RunConfig, model: WanModel, text: Callable[[str], Tensor], vae: Callable[[], AutoencoderKLWan]
) -> Backbone:
    """A loaded transformer and text encoder, as a configuration says; ``vae`` loads one where it is needed."""
    from streamt1.backbones.wan.backbone import WanBackbone

    wan, kv_device = config.wan, "cpu" if config.placement.kv == "host" else None
    size, copies = latent_size(wan), config.placement.kv_copies * GB
    schedule = wan_schedule(config)
    if config.memory.rebuild != "off":
        return _rebuilt(config, model, text, schedule, vae())
    return WanBackbone(model, text, size, config.memory, schedule, kv_device, copies, wan.shot_prefix, wan.starts)


def _rebuilt(
    config: RunConfig, model: WanModel, text: Callable[[str], Tensor], schedule: Schedule, vae: AutoencoderKLWan
) -> Backbone:
    """A backbone that shows and encodes by a VAE of its own."""
    from streamt1.backbones.wan.rebuilt import RebuiltBackbone
    from streamt1.decoders.wan_encoder import WanVAEEncoder
    from streamt1.decoders.wan_vae import WanVAEDecoder

    shows, size = WanVAEDecoder(vae, config.wan.fps), latent_size(config.wan)
    encoder = WanVAEEncoder(vae, (config.wan.height, config.wan.width))
    return RebuiltBackbone(model, text, size, config.memory, schedule, shows, encoder.encode_picture)


def _decoder(config: RunConfig, device: torch.device) -> Decoder:
    from streamt1.decoders.wan_vae import load_vae

    return decoder_over(config, load_vae(file_of(config, "vae"), device, getattr(torch, config.dtype)))


def decoder_over(config: RunConfig, vae: AutoencoderKLWan) -> Decoder:
    """A loaded VAE, at the settings of a configuration."""
    from streamt1.decoders.recompute import RecomputingDecoder
    from streamt1.decoders.wan_vae import WanVAEDecoder

    states = config.placement.decoder_states
    decoder = WanVAEDecoder(vae, config.wan.fps, config.batches.decoder, states == "host")
    return RecomputingDecoder(decoder) if states == "recompute" and config.draft is None else decoder


def encoder_over(config: RunConfig, decoder: WanVAEDecoder | RecomputingDecoder) -> Encoder:
    """Encodes with the VAE of a decoder, as a configuration says."""
    from streamt1.decoders.recompute import RecomputingDecoder
    from streamt1.decoders.wan_encoder import WanVAEEncoder

    inner: Any = decoder.inner if isinstance(decoder, RecomputingDecoder) else decoder
    size = config.wan.height, config.wan.width
    return WanVAEEncoder(inner.vae, size, "stretch" if config.wan.starts == "held" else "cover")


def _taehv(config: RunConfig, device: torch.device) -> Decoder:
    from streamt1.decoders.taehv import TAEHVDecoder

    dtype = getattr(torch, config.dtype)
    channels = wan_sizes(config.wan).in_channels
    return TAEHVDecoder.load(file_of(config, "draft"), channels, device, dtype, config.wan.fps, config.batches.decoder)


def _hpsv3(config: RunConfig, device: torch.device) -> FrameReward:
    from streamt1.rewards.hpsv3 import HPSv3Reward

    weights, base, template = (file_of(config, f"hpsv3{part}") for part in ("", "_base", "_template"))
    dtype, place = getattr(torch, config.dtype), config.placement
    settings = (config.batches.frame_reward, place.rewards == "device", place.reward_bits, place.frame_reward_layers)
    return HPSv3Reward.load(weights, base, template, device, dtype, *settings)


def _videoreward(config: RunConfig, device: torch.device) -> ClipReward:
    from streamt1.rewards.videoreward import VideoReward

    folder, base, template = (file_of(config, f"videoreward{part}") for part in ("", "_base", "_template"))
    dtype, place = getattr(torch, config.dtype), config.placement
    settings = (config.batches.clip_reward, place.rewards == "device", place.reward_bits, place.clip_reward_layers)
    return VideoReward.load(folder, base, template, device, dtype, *settings)


def _read_prompt(prompt: str) -> None:
    """Any text will do that has something in it once its HTML entities are resolved."""
    if not html.unescape(html.unescape(prompt)).strip():
        raise PromptError("the prompt is empty: say what the video should show")


WAN = Family(
    backbones={"wan": _backbone},
    decoders={"wan": _decoder, "taehv": _taehv},
    frame_rewards={"hpsv3": _hpsv3},
    clip_rewards={"videoreward": _videoreward},
    read_prompt=_read_prompt,
    needs=needs,
    spare=spare,
    pages_read=pages_read,
    check_files=check_files,
    encoders={"wan": encoder_over},
)
