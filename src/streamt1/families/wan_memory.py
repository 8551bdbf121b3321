"""What Wan's models and their rewards need of memory, computed from their sizes before anything is loaded.

Weights, KV pages and decoder states are exact; working memory is an estimate (the largest tensors of a pass).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from streamt1.backbones.wan.config import SIZES, WanConfig
from streamt1.config.schema import Placement, RunConfig, WanSettings
from streamt1.core.errors import UnknownNameError, needs_extra
from streamt1.decoders.taehv import BLOCKS, TAEHV, TAEHVConfig
from streamt1.families.family import PHASES, Part

GB = 10**9
BYTES = {"float32": 4, "bfloat16": 2}


def wan_sizes(wan: WanSettings) -> WanConfig:
    """The transformer's sizes that settings name. Raises ``ConfigError``."""
    if isinstance(wan.size, str):
        if wan.size not in SIZES:
            raise UnknownNameError("size", wan.size, SIZES)
        return SIZES[wan.size]
    known = {field.name for field in dataclasses.fields(WanConfig)}
    unknown = next((key for key in wan.size if key not in known), None)
    if unknown is not None:
        raise UnknownNameError("wan.size key", unknown, known)
    sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in wan.size.items()}
    return WanConfig(**sizes)


def parts(config: RunConfig, placement: Placement, batch: int) -> Iterator[Part]:
    sizes, width = wan_sizes(config.wan), BYTES[config.dtype]
    pixels = config.wan.height * config.wan.width
    yield Part("transformer", parameters(wan_model(sizes)) * width)
    here = placement.text_encoder == "device"
    note = "" if here else "on the host after encoding"
    yield Part("text encoder", parameters(text_model()) * width, PHASES if here else ("encode",), note)
    yield from _memory_parts(config, placement, batch, sizes)
    yield Part("decoder", VAE_PARAMETERS * width)
    yield from _state_parts(config, placement, pixels * STATE_VALUES_PER_PIXEL * width)
    yield from _draft_parts(config, pixels * width)
    yield Part("decoder at work", pixels * DECODER_WORK_PER_PIXEL * width, ("decode",))
    yield from _reward_parts(config, placement, width)


def _memory_parts(config: RunConfig, placement: Placement, batch: int, sizes: WanConfig) -> Iterator[Part]:
    width, beams, frames = BYTES[config.dtype], config.effective_search.top_k, config.memory.max_frames
    frame = kv_bytes_per_frame(config)
    if placement.kv == "device":
        yield Part("KV pages", frame * beams * frames, PHASES[1:], f"{beams} beams x {frames} frames at most")
    else:
        yield Part("KV pages", 0, (), f"{frame * beams * frames / GB:.2f} GB on the host, read layer by layer")
    tokens = batch * _tokens(config, sizes) * config.memory.chunk
    working = tokens * (sizes.ffn_dim * width + sizes.dim * (6 * 4 + 6 * width)) + frame * frames / sizes.num_layers
    yield Part("transformer at work", working, ("denoise",), f"{batch} candidates at a time")


def _state_parts(config: RunConfig, placement: Placement, state: float) -> Iterator[Part]:
    count = 1 if config.draft else _states_kept(config)
    if placement.decoder_states == "device":
        yield Part("decoder states", state * count, PHASES[1:], f"{count} of {state / GB:.2f} GB")
    else:
        yield Part("decoder states", state * 2, ("decode",), f"{count} on the host, 2 at work")


def _states_kept(config: RunConfig) -> int:
    """Of the decoder that shows candidates: one for each beam and for each of its candidates."""
    search = config.effective_search
    return search.top_k * (1 + search.beam_size)


def _draft_parts(config: RunConfig, size: float) -> Iterator[Part]:
    """The light decoder and its states, one a candidate; ``size`` is bytes of one value per pixel."""
    if config.draft is None:
        return
    sizes, count = TAEHVConfig(), _states_kept(config)
    yield Part("draft decoder", parameters(draft_model(sizes)) * BYTES[config.dtype])
    values = sum(BLOCKS * width / 4 ** (3 - stage) for stage, width in enumerate(sizes.widths[:3]))
    yield Part("draft states", size * values * count, PHASES[1:], f"{count} of {size * values / GB:.2f} GB")


def _reward_parts(config: RunConfig, placement: Placement, width: int) -> Iterator[Part]:
    here = placement.rewards == "device"
    sizes = {"hpsv3": "7B", "videoreward": "2B"}
    weights = {
        name: _reward_bytes(sizes[name], placement.reward_bits, width)
        for name in (config.frame_reward, config.clip_reward)
        if name in sizes
    }
    note = f"{placement.reward_bits} bit"
    if here:
        for name, size in weights.items():
            yield Part(f"reward {name}", size, note=note)
    elif weights:
        note += ", on the host but for the one at work"
        yield Part("rewards", max(weights.values()), ("score",), note)
    yield Part("rewards at work", REWARD_WORK if weights else 0.0, ("score",))


VAE_PARAMETERS = 126_892_531
"""Of Wan2.1's VAE, encoder and decoder."""
STATE_VALUES_PER_PIXEL = 1.76 * 2**30 / 2 / (480 * 832)
"""Of the decoder's carried features: 1.76 GiB in bfloat16 at 480x832."""
DECODER_WORK_PER_PIXEL = 4 * 96 * 5
"""Values alive at the widest place: four frames of 96 channels, about five tensors of them."""
REWARD_WORK = 1.5 * GB
"""Activations of a reward on a few pictures: 252 vision tokens each, about 1000 words."""


def kv_bytes_per_frame(config: RunConfig) -> float:
    """Keys and values of one latent frame in all layers."""
    sizes = wan_sizes(config.wan)
    return _tokens(config, sizes) * sizes.dim * 2 * BYTES[config.dtype] * sizes.num_layers


def _tokens(config: RunConfig, sizes: WanConfig) -> int:
    """Of one latent frame."""
    rows, columns = sizes.grid(config.wan.height // 8, config.wan.width // 8)
    return rows * columns


def parameters(model: nn.Module) -> int:
    """How many numbers a model has; those shared by two layers count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def wan_model(sizes: WanConfig) -> nn.Module:
    """On the meta device: sizes without memory."""
    from streamt1.backbones.wan.model import WanModel

    with torch.device("meta"):
        return WanModel(sizes)


def draft_model(sizes: TAEHVConfig) -> nn.Module:
    """TAEHV's decoder on the meta device."""
    with torch.device("meta"):
        return TAEHV(sizes)


def text_model() -> nn.Module:
    """UMT5-XXL's encoder, as Wan uses it, on the meta device."""
    with needs_extra("wan", "planning memory"):
        from transformers import UMT5Config, UMT5EncoderModel
    config = UMT5Config(
        vocab_size=256384,
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        return UMT5EncoderModel(config)


def reward_model(size: str) -> nn.Module:
    """Qwen2-VL without its vocabulary head, on the meta device; size 2B or 7B."""
    with needs_extra("wan", "planning memory"):
        from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig
        from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
    hidden, inner, heads, groups, words = {
        "2B": (1536, 8960, 12, 2, 151936), "7B": (3584, 18944, 28, 4, 152064)
    }[size]  # fmt: skip
    text = {
        "hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": heads, "num_key_value_heads": groups,
        "num_hidden_layers": 28, "vocab_size": words,
    }  # fmt: skip
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": hidden, "num_heads": 16, "mlp_ratio": 4}
    with torch.device("meta"):
        return Qwen2VLModel(Qwen2VLConfig(text_config=text, vision_config=vision))


def _reward_bytes(size: str, bits: int, width: int) -> float:
    """Weights of a reward; quantised, its language layers have `bits` and the rest stays as it is."""
    model = reward_model(size)
    total = parameters(model)
    if bits == 16:
        return total * width
    layers = sum(p.numel() for name, p in model.named_parameters() if "language_model.layers" in name and p.ndim == 2)
    return layers * (bits / 8 + 4 / 128) + (total - layers) * width
