"""What stays on the device: computed before anything is loaded, from the sizes of the models.

Weights, KV pages and decoder states are exact; working memory is an estimate (the largest tensors of a pass), and a
reserve covers what frameworks keep for themselves.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from streamt1.assemble.build import wan_sizes
from streamt1.assemble.config import Placement, RunConfig
from streamt1.backbones.wan.config import WanConfig
from streamt1.codec.taehv import BLOCKS, TAEHVConfig, TAEHVDecoder
from streamt1.core.errors import ConfigError, needs_extra

GB = 10**9
RESERVE = 1.5 * GB
"""For the driver, the libraries and fragmentation."""
BYTES = {"float32": 4, "bfloat16": 2}
UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


PHASES = ("encode", "denoise", "decode", "judge")
"""What a run does one after another: the prompt; then, chunk by chunk, candidates, pixels, scores."""


@dataclass(frozen=True)
class Part:
    """One thing that needs room on the device.

    Attributes:
        name: for people.
        bytes: how much.
        phases: when it is there.
        note: where it is otherwise, or what the number is made of.
    """

    name: str
    bytes: float
    phases: tuple[str, ...] = PHASES
    note: str = ""


@dataclass(frozen=True)
class MemoryPlan:
    """A placement, what it needs, and what there is (bytes)."""

    placement: Placement
    candidate_batch: int
    parts: tuple[Part, ...]
    available: float

    def in_phase(self, phase: str) -> float:
        """Bytes that are needed at once in a phase, with the reserve."""
        return sum(part.bytes for part in self.parts if phase in part.phases) + RESERVE

    @property
    def peak(self) -> float:
        """The most that any phase needs."""
        return max(self.in_phase(phase) for phase in PHASES)

    @property
    def fits(self) -> bool:
        return self.peak <= self.available

    def applied(self, config: RunConfig) -> RunConfig:
        """The configuration with the plan put into effect."""
        search = dataclasses.replace(config.search, candidate_batch=self.candidate_batch)
        return config.model_copy(update={"placement": self.placement, "search": search})

    def lines(self) -> list[str]:
        """The plan as a table: parts, and when they are on the device."""
        rows = [f"  {'':24}{'GB':>8}  {'  '.join(PHASES)}"]
        for part in (*self.parts, Part("reserve", RESERVE)):
            marks = "  ".join(("x" if phase in part.phases else "").center(len(phase)) for phase in PHASES)
            rows.append(f"  {part.name:24}{part.bytes / GB:8.2f}  {marks}  {part.note}".rstrip())
        sums = "  ".join(f"{self.in_phase(phase) / GB:.1f}".center(len(phase)) for phase in PHASES)
        rows.append(f"  {'needed':24}{self.peak / GB:8.2f}  {sums}  of {self.available / GB:.1f} GB")
        return rows


def parse_size(text: str) -> float:
    """``24GB``, ``80 GiB`` or a number of bytes -> bytes. Raises ``ConfigError``."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in UNITS:
        raise ConfigError(f"{text!r} is not an amount of memory; write it like 24GB")
    return float(match[1]) * UNITS[match[2].upper()]


def plan_memory(config: RunConfig, available: float) -> MemoryPlan:
    """The first placement that fits, from everything on the device to everything elsewhere.

    Raises ``ConfigError`` with the numbers when not even the last one fits, or for a preset of other models.
    """
    if config.backbone != "wan":
        raise ConfigError(f"backbone {config.backbone!r} needs no memory plan: it runs in less than 1 GB")
    plan = None
    for placement, batch in _choices(config):
        plan = MemoryPlan(placement, batch, tuple(_parts(config, placement, batch)), available)
        if plan.fits:
            return plan
    assert plan is not None
    raise ConfigError(
        f"{available / GB:.1f} GB do not hold this preset at any setting; the least it needs:\n"
        + "\n".join(plan.lines())
        + "\nuse a smaller height and width, fewer survivors (--top-k), or lighter rewards"
    )


def _choices(config: RunConfig) -> Iterator[tuple[Placement, int]]:
    """Placements from the fastest to the smallest; each gives up one thing more."""
    search = config.effective_search
    batch = search.candidate_batch or search.beam_size * search.top_k
    placement = Placement()
    yield placement, batch
    for changes in ({"text_encoder": "host"}, {"rewards": "host"}, {"decoder_states": "host"}, {"kv": "host"}):
        placement = placement.model_copy(update=changes)
        yield placement, batch
    while batch > 1:
        batch //= 2
        yield placement, batch
    for bits in (8, 4):
        yield placement.model_copy(update={"reward_bits": bits}), batch


def _parts(config: RunConfig, placement: Placement, batch: int) -> Iterator[Part]:
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
        yield Part("rewards", max(weights.values()), ("judge",), note)
    yield Part("rewards at work", REWARD_WORK if weights else 0.0, ("judge",))


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
        return TAEHVDecoder(sizes)


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
