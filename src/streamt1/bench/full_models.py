"""Wan's models and their rewards at full size without their files, put together as a configuration says.

Weights are where the configuration's placement has them: fake ones, which hold no numbers, or random ones, with which
a GPU takes as long as with the official ones.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

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
from streamt1.rewards.qwen2vl import Qwen2VLReward
from streamt1.rewards.videoreward import Settings, VideoReward
from streamt1.rewards.vision import fitted_size
from streamt1.rewards.words import Question, Words

R = TypeVar("R", bound=Qwen2VLReward)
WORDS = 800
"""Tokens of a question besides what is seen: the template, and a prompt of about a hundred words."""
VIDEO = Settings(1, 2.0, 2.0, (448 * 448 // 2, 448 * 448), (3.6757, 1.1646, 2.8105), (2.2476, 1.3811, 2.5121))
"""What VideoReward's ``model_config.json`` says (SPEC section 8)."""


SPREAD = 0.02
"""Standard deviation of random weights."""
Filled = Callable[[Any, torch.dtype, torch.device], Any]
"""Gives a module on the meta device its weights, in a dtype on a device; mutates, and returns it."""


def fake_models(config: RunConfig) -> Models:
    """All models of a configuration of Wan's family, in bfloat16 on a CUDA device that is not there.

    To be made within ``fake_cuda``.
    """
    models = _Maker(config, CUDA, placed, _Unseen).models()
    backbone, decoder = models.backbone, models.decoder
    codecs = [decoder.inner if isinstance(decoder, RecomputingDecoder) else decoder]
    if isinstance(backbone, RebuiltBackbone):
        codecs.append(backbone.decoder)
    for codec in codecs:
        assert isinstance(codec, WanVAEDecoder)
        codec.checked = False
    return dataclasses.replace(models, checked=False)


def random_models(config: RunConfig, device: torch.device) -> Models:
    """All models of a configuration of Wan's family, in its dtype, with random weights that follow from nothing.

    Their videos are noise, and their rewards' words have no meaning. The tokenizers are stand-ins.
    """
    return _Maker(config, device, randomised, HPSv3Reward).models()


def randomised(model: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Gives a module on the meta device random weights; mutates. Norms keep the size of what goes through them."""
    placed(model, dtype, device)
    done: set[int] = set()
    for part in model.modules():
        for held in cast("tuple[dict[str, Any], ...]", (part._parameters, part._buffers)):
            for name, tensor in held.items():
                if tensor is None or id(tensor) in done:
                    continue
                done.add(id(tensor))
                if name == "gamma" or (name == "weight" and tensor.ndim == 1):
                    tensor.fill_(1)
                elif tensor.ndim > 1 and tensor.is_floating_point():
                    tensor.normal_(0, SPREAD)
                else:
                    tensor.zero_()
    return model


@dataclass(frozen=True)
class _Maker:
    """Puts models together.

    Attributes:
        config: of Wan's family.
        device: where they work.
        filled: gives them their weights.
        frame_reward: HPSv3, or one for pictures that hold no numbers.
    """

    config: RunConfig
    device: torch.device
    filled: Filled
    frame_reward: type[HPSv3Reward]

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.config.dtype)

    def models(self) -> Models:
        with torch.device("meta"):
            transformer = WanModel(wan_sizes(self.config.wan))
        transformer, text = self.filled(transformer, self.dtype, self.device), self._text()
        backbone = backbone_over(self.config, transformer, text, self._vae)
        return Models(backbone, decoder_over(self.config, self._vae()), self._hpsv3(), self._videoreward())

    def _text(self) -> WanText:
        from transformers import UMT5Config, UMT5EncoderModel

        sizes, length = TextSizes(), wan_sizes(self.config.wan).text_len
        told = UMT5Config(
            vocab_size=sizes.words, d_model=sizes.dim, d_kv=sizes.inner // sizes.heads, d_ff=sizes.feed,
            num_layers=sizes.layers, num_heads=sizes.heads, feed_forward_proj="gated-gelu",
        )  # fmt: skip
        with torch.device("meta"):
            encoder = UMT5EncoderModel(told)
        encoder.set_input_embeddings(encoder.shared)
        home = self.device if self.config.placement.text_encoder == "device" else HOST
        self.filled(encoder, self.dtype, home)
        return WanText(encoder, _tokens, length, self.device)  # pyright: ignore[reportArgumentType]

    def _vae(self) -> Any:
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

        sizes = WAN22 if self.config.wan.vae == "2.2" else WAN21
        with torch.device("meta"):
            return self.filled(AutoencoderKLWan(**sizes), self.dtype, self.device)

    def _hpsv3(self) -> HPSv3Reward:
        place, batch = self.config.placement, self.config.batches.frame_reward
        model, head = self._qwen("hpsv3", hpsv3.reward_head)
        words = _Words(hpsv3.MARKS)
        return self._settled(
            self.frame_reward(model, head, words, hpsv3.MARKS[0], batch, self.device), place.frame_reward_layers
        )

    def _videoreward(self) -> VideoReward:
        place, batch = self.config.placement, self.config.batches.clip_reward
        model, head = self._qwen("videoreward", lambda hidden: nn.Linear(hidden, VIDEO.outputs, bias=False))
        marks, template = videoreward.MARKS, "".join(videoreward.MARKS)
        reward = VideoReward(model, head, _Words(marks), template, VIDEO, batch, self.device)
        return self._settled(reward, place.clip_reward_layers)

    def _settled(self, reward: R, layers: int) -> R:
        """Where and in as many bits as the placement says; those that stay as they are are there already."""
        place = self.config.placement
        if place.rewards == "device" and place.reward_bits == 16:
            return reward
        return reward.placed(self.dtype, place.reward_bits, place.rewards == "device", layers)

    def _qwen(self, name: str, head_over: Callable[[int], nn.Module]) -> tuple[Qwen2VL, nn.Module]:
        """With its low-rank updates; and the head over its hidden states, in float32."""
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
            layers = model.qwen.language_model.named_modules()
            linear = [name for name, layer in layers if isinstance(layer, nn.Linear)]
            down = torch.empty(sizes.rank, 1, device="meta")
            videoreward.with_updates(model, {f"model.{name}.down.weight": down for name in linear}, VIDEO.lora_scale)
        with torch.device("meta"):
            head = head_over(model.hidden)
        home = self.device if self.config.placement.rewards == "device" else HOST
        return self.filled(model, self.dtype, home), self.filled(head, torch.float32, home)


WAN21: dict[str, Any] = {}
WAN22: dict[str, Any] = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12, "out_channels": 12,
    "patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip
"""Sizes of Wan's VAEs; those of 2.1 are diffusers' own."""


def _tokens(texts: Sequence[str], max_length: int = 1, **_: Any) -> dict[str, Tensor]:
    """What a tokenizer gives: as many tokens as fit."""
    return {name: torch.ones(len(texts), max_length, dtype=torch.long) for name in ("input_ids", "attention_mask")}


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
