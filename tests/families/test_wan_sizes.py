"""Sizes by arithmetic are those of the models themselves, on the meta device."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from streamt1.backbones.wan.config import SIZES, WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.bench.full_models import WAN22
from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.families.wan_memory import kv_bytes_per_frame
from streamt1.families.wan_sizes import (
    REWARDS,
    VAES,
    RewardSizes,
    TextSizes,
    latent_size,
    wan_parameters,
    wan_sizes,
)

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")


def counted(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "sizes", [*SIZES.values(), WanConfig(dim=96, ffn_dim=200, num_layers=3, num_heads=4, text_dim=40, freq_dim=32)]
)
def test_the_transformer(sizes: WanConfig) -> None:
    with torch.device("meta"):
        assert wan_parameters(sizes) == counted(WanModel(sizes))


@pytest.mark.parametrize("sizes", [TextSizes(), TextSizes(words=100, dim=48, inner=32, feed=80, layers=2, heads=4)])
def test_the_text_encoder(sizes: TextSizes) -> None:
    config = transformers.UMT5Config(
        vocab_size=sizes.words, d_model=sizes.dim, d_kv=sizes.inner // sizes.heads, d_ff=sizes.feed,
        num_layers=sizes.layers, num_heads=sizes.heads, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.UMT5EncoderModel(config)
    assert sizes.parameters == counted(model)
    assert sizes.layer == counted(model.encoder.block[0])


@pytest.mark.parametrize("name", REWARDS)
def test_the_rewards(name: str) -> None:
    sizes = dataclasses.replace(REWARDS[name], rank=0)
    model = qwen2vl(sizes)
    assert sizes.parameters == counted(model)
    assert sizes.vision == counted(model.visual)
    assert sizes.linear + sizes.rest == counted(model.language_model.layers[0])


def test_low_rank_updates_are_counted() -> None:
    from streamt1.rewards.videoreward import LowRank

    sizes = RewardSizes(hidden=64, feed=160, heads=4, groups=2, words=10, layers=1, rank=8)
    layers = [LowRank(inner, outer, False, 8, 1.0) for inner, outer in sizes.matrices]
    updates = sum(counted(layer.down) + counted(layer.up) for layer in layers)
    assert sizes.rest - dataclasses.replace(sizes, rank=0).rest == updates


@pytest.mark.parametrize(("name", "sizes"), [("2.1", {}), ("2.2", WAN22)])
def test_the_decoders(name: str, sizes: dict) -> None:
    """Parameters, and what is carried from one latent frame to the next."""
    told = VAES[name]
    with torch.device("meta"):
        vae = diffusers.AutoencoderKLWan(**sizes)
        carried = [None] * sum(type(module).__name__ == "WanCausalConv3d" for module in vae.decoder.modules())
        for first in (True, False, False):
            vae.decoder(torch.empty(1, vae.config.z_dim, 1, 4, 6), carried, [0], first_chunk=first)
    assert counted(vae) == told.parameters
    values = sum(feature.numel() for feature in carried if isinstance(feature, torch.Tensor))
    assert values / (4 * 6 * told.scale**2) == told.state


def test_pictures_are_whole_patches() -> None:
    wan = load_config("longlive2").wan
    assert latent_size(wan) == (44, 80)
    with pytest.raises(ConfigError, match=r"wan\.height=720 is no multiple of 32 pixels; take 704"):
        latent_size(wan.model_copy(update={"height": 720}))


def test_keys_and_values_of_a_latent_frame() -> None:
    assert kv_bytes_per_frame(load_config("longlive")) == pytest.approx(287.5e6, rel=1e-3)


def test_sizes_are_named_or_given() -> None:
    wan = load_config("longlive").wan
    assert wan_sizes(wan) == SIZES["1.3B"]
    with pytest.raises(UnknownNameError, match=r"1\.3B"):
        wan_sizes(wan.model_copy(update={"size": "1.4B"}))
    with pytest.raises(ConfigError, match="num_layers"):
        wan_sizes(wan.model_copy(update={"size": {"num_layer": 2}}))


def qwen2vl(sizes: RewardSizes) -> nn.Module:
    """The model of the two rewards, on the meta device."""
    text = {
        "hidden_size": sizes.hidden, "intermediate_size": sizes.feed, "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.groups, "num_hidden_layers": sizes.layers, "vocab_size": sizes.words,
    }  # fmt: skip
    vision = {"depth": sizes.depth, "embed_dim": sizes.width, "hidden_size": sizes.hidden, "num_heads": 16}
    with torch.device("meta"):
        return transformers.Qwen2VLModel(transformers.Qwen2VLConfig(text_config=text, vision_config=vision))
