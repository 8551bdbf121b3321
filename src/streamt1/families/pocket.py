"""The pocket family: the small models that ship in the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from streamt1.config.schema import RunConfig
from streamt1.core.protocols import Backbone, ClipReward, Decoder, Encoder, FrameReward
from streamt1.families.family import Builder, Family
from streamt1.pocket.vocabulary import tokenize

if TYPE_CHECKING:
    from streamt1.decoders.pocket_vae import PocketDecoder


def _backbone(weights: str) -> Builder:
    def builder(config: RunConfig, device: torch.device) -> Backbone:
        from streamt1.backbones.pocket.backbone import PocketBackbone
        from streamt1.backbones.sampling import Schedule

        schedule = Schedule(sampler=config.sampler)
        return PocketBackbone(weights, config.memory, device, getattr(torch, config.dtype), schedule)

    return builder


def _decoder(config: RunConfig, device: torch.device) -> Decoder:
    from streamt1.decoders.pocket_vae import PocketDecoder

    return PocketDecoder.bundled(device)


def _encoder(config: RunConfig, decoder: PocketDecoder) -> Encoder:
    from streamt1.decoders.pocket_vae import PocketEncoder

    return PocketEncoder(decoder)


def _frame_reward(config: RunConfig, device: torch.device) -> FrameReward:
    from streamt1.rewards.pocket import PocketFrameReward

    return PocketFrameReward.bundled(device)


def _clip_reward(config: RunConfig, device: torch.device) -> ClipReward:
    from streamt1.rewards.pocket import PocketClipReward

    return PocketClipReward.bundled(device)


POCKET = Family(
    backbones={"pocket": _backbone("pocket_dit"), "pocket-base": _backbone("pocket_dit_base")},
    decoders={"pocket": _decoder},
    frame_rewards={"pocket": _frame_reward},
    clip_rewards={"pocket": _clip_reward},
    read_prompt=tokenize,
    encoders={"pocket": _encoder},
)
