"""Wan's models and their rewards at full size without numbers, put together as a configuration says.

To be made within ``fake_cuda``. Weights are where the configuration's placement has them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamt1.backbones.wan.model import WanModel
from streamt1.backbones.wan.rebuilt import RebuiltBackbone
from streamt1.backbones.wan.text import WanText
from streamt1.bench.fake_cuda import CUDA, placed
from streamt1.config.schema import RunConfig
from streamt1.core.devices import HOST
from streamt1.core.protocols import Models
from streamt1.decoders.recompute import RecomputingDecoder
from streamt1.decoders.wan_vae import WanVAEDecoder
from streamt1.families.wan import backbone_over, decoder_over
from streamt1.families.wan_sizes import REWARDS, TextSizes, wan_sizes
from streamt1.rewards import hpsv3, videoreward
from streamt1.rewards.hpsv3 import HPSv3Reward
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.videoreward import Settings, VideoReward
from streamt1.rewards.vision import fitted_size
from streamt1.rewards.words import Question, Words

BFLOAT16 = torch.bfloat16
WORDS = 800
"""Tokens of a question besides what is seen: the template, and a prompt of about a hundred words."""
VIDEO = Settings(1, 2.0, 2.0, (448 * 448 // 2, 448 * 448), (3.6757, 1.1646, 2.8105), (2.2476, 1.3811, 2.5121))
"""What VideoReward's ``model_config.json`` says (SPEC section 8)."""


def fake_models(config: RunConfig) -> Models:
    """All models of a configuration of Wan's family, in bfloat16 on a CUDA device that is not there."""
    sizes = wan_sizes(config.wan)
    with torch.device("meta"):
        transformer = WanModel(sizes)
    transformer, text = placed(transformer, BFLOAT16), _text(config)
    backbone = backbone_over(config, transformer, text, lambda: _vae(config))
    decoder = decoder_over(config, _vae(config))
    codecs = [decoder.inner if isinstance(decoder, RecomputingDecoder) else decoder]
    if isinstance(backbone, RebuiltBackbone):
        codecs.append(backbone.decoder)
    for codec in codecs:
        assert isinstance(codec, WanVAEDecoder)
        codec.checked = False
    return Models(backbone, decoder, _hpsv3(config), _videoreward(config), checked=False)


def _text(config: RunConfig) -> WanText:
    from transformers import UMT5Config, UMT5EncoderModel

    sizes, length = TextSizes(), wan_sizes(config.wan).text_len
    told = UMT5Config(
        vocab_size=sizes.words, d_model=sizes.dim, d_kv=sizes.inner // sizes.heads, d_ff=sizes.feed,
        num_layers=sizes.layers, num_heads=sizes.heads, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.device("meta"):
        encoder = UMT5EncoderModel(told)
    encoder.set_input_embeddings(encoder.shared)
    placed(encoder, BFLOAT16, CUDA if config.placement.text_encoder == "device" else HOST)
    return WanText(encoder, _tokens, length, CUDA)  # pyright: ignore[reportArgumentType]


def _tokens(texts: Sequence[str], max_length: int, **_: Any) -> dict[str, Tensor]:
    """What a tokenizer gives: as many tokens as fit."""
    return {name: torch.ones(len(texts), max_length, dtype=torch.long) for name in ("input_ids", "attention_mask")}


WAN22 = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12, "out_channels": 12,
    "patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip
"""Sizes of Wan2.2's VAE; those of Wan2.1's are diffusers' own."""


def _vae(config: RunConfig) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    sizes: dict[str, Any] = WAN22 if config.wan.vae == "2.2" else {}
    with torch.device("meta"):
        return placed(AutoencoderKLWan(**sizes), BFLOAT16)


def _hpsv3(config: RunConfig) -> HPSv3Reward:
    model, place = _qwen("hpsv3"), config.placement
    head = placed(hpsv3.reward_head(model.hidden), torch.float32, HOST)
    reward = _Unseen(model, head, _Words(hpsv3.MARKS), hpsv3.MARKS[0], config.batches.frame_reward, CUDA)
    return reward.placed(BFLOAT16, 16, place.rewards == "device", place.frame_reward_layers)


def _videoreward(config: RunConfig) -> VideoReward:
    model, place = _qwen("videoreward"), config.placement
    head = placed(nn.Linear(model.hidden, VIDEO.outputs, bias=False), torch.float32, HOST)
    marks, template = videoreward.MARKS, "".join(videoreward.MARKS)
    reward = VideoReward(model, head, _Words(marks), template, VIDEO, config.batches.clip_reward, CUDA)
    return reward.placed(BFLOAT16, 16, place.rewards == "device", place.clip_reward_layers)


def _qwen(name: str) -> Qwen2VL:
    """On the host, with its low-rank updates."""
    sizes = REWARDS[name]
    text = {
        "hidden_size": sizes.hidden, "intermediate_size": sizes.feed, "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.groups, "num_hidden_layers": sizes.layers,
    }  # fmt: skip
    vision = {"depth": sizes.depth, "embed_dim": sizes.width, "hidden_size": sizes.hidden, "num_heads": 16}
    with tempfile.TemporaryDirectory() as folder:
        told = {"model_type": "qwen2_vl", **text, "vision_config": vision}
        (Path(folder) / "config.json").write_text(json.dumps(told), encoding="utf-8")
        model = Qwen2VL(Path(folder), sizes.words)
    if sizes.rank:
        linear = [name for name, layer in model.qwen.language_model.named_modules() if isinstance(layer, nn.Linear)]
        down = torch.empty(sizes.rank, 1, device="meta")
        videoreward.with_updates(model, {f"model.{name}.down.weight": down for name in linear}, VIDEO.lora_scale)
    return placed(model, BFLOAT16, HOST)


class _Unseen(HPSv3Reward):
    """Its pictures have a size and nothing else, which Pillow can't do with."""

    def _resized(self, picture: Tensor) -> Tensor:
        _, height, width = picture.shape
        return picture.new_zeros(1, 3, *fitted_size(height, width, hpsv3.PIXELS, hpsv3.PIXELS))


class _Words(Words):
    """A tokenizer of questions without a vocabulary: numbers in the places of words."""

    def __init__(self, marks: tuple[str, ...]) -> None:
        self.marks, self.vision_id = marks, 1
        self.mark_ids = list(range(2, 2 + len(marks)))
        self.size = 0

    def padded(self, questions: Sequence[Question]) -> list[list[int]]:
        """See ``Words.padded``."""
        words = list(range(10, 10 + WORDS))
        seen = [grid[0] * grid[1] * grid[2] // 4 for grid in (question.grid for question in questions)]
        return [[*[self.vision_id] * count, *words, *self.mark_ids] for count in seen]
