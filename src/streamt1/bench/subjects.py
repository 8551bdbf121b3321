"""What is measured: pocket, and random causal Wan transformers of the size that the official code was measured at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamt1.backbones.pocket.weights import load_pocket
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.config.load import load_config
from streamt1.core.errors import UnknownNameError, needs_extra
from streamt1.core.frames import floats
from streamt1.core.protocols import FrameReward, Models, SamplingClipReward
from streamt1.core.types import RewardOutput
from streamt1.decoders.pocket_vae import PocketDecoder, PocketVAE, PocketVAEConfig
from streamt1.decoders.wan_vae import WanVAEDecoder
from streamt1.families.build import build
from streamt1.memory import MemoryConfig
from streamt1.search.config import SearchConfig

PROMPT = "a red circle bouncing on a navy striped background"
RANDOM = WanConfig(
    dim=384, ffn_dim=1536, num_layers=8, num_heads=6, in_channels=8, out_channels=8, patch_size=(1, 1, 1), text_dim=128,
    text_len=16,
)  # fmt: skip
"""64 tokens a latent frame on pocket's latents."""
WIDE = PocketVAEConfig(fine=432, coarse=648)
"""A decoder that takes, for one chunk, .29 of the seconds of that transformer's five passes over it. At full size Wan's
VAE makes 41 TFLOP where LongLive's five passes make 141 (window of 12 latent frames); in the official code's profile
the share is .30."""
WAN = replace(RANDOM, in_channels=16, out_channels=16, patch_size=(1, 2, 2))
"""160 tokens a latent frame of 160x256 pixels."""
BASE_DIM, RES_BLOCKS = 8, 1
"""Sizes of Wan's VAE, 96 and 2 at full size. With these a chunk takes it .33 of the seconds of the five passes."""


@dataclass(frozen=True)
class Subject:
    """Models to search over, and at which settings.

    Attributes:
        models: loaded.
        search: settings; a benchmark sets the width.
    """

    name: str
    models: Models
    search: SearchConfig


def pocket(threads: int = 1) -> Subject:
    """The bundled model with its own preset."""
    torch.set_num_threads(threads)
    config = load_config("pocket")
    return Subject("pocket", build(config), config.search)


def random_model(threads: int = 2) -> Subject:
    """A random transformer of width 384 and 8 layers, a random decoder, pocket's text encoder and rewards.

    It is searched with the paper's settings, a reward window of ten chunks among them. Like Wan's VAE at full size, the
    decoder takes one candidate at a time.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    models, backbone = build(load_config("pocket")), _random_backbone(RANDOM, (8, 8))
    decoder = PocketDecoder(PocketVAE(WIDE), batch=1)
    return Subject("random 384x8", Models(backbone, decoder, models.frame_reward, models.clip_reward), SearchConfig())


def wan_small(threads: int = 2) -> Subject:
    """A random transformer of width 384 and 8 layers on 160x256 pixels, a random decoder of Wan's own architecture.

    Its frames are bytes. The rewards are pocket's, which see them shrunk. Raises ``MissingExtraError``.
    """
    with needs_extra("wan", "a decoder of Wan's architecture"):
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    models, backbone = build(load_config("pocket")), _random_backbone(WAN, (20, 32))
    vae = AutoencoderKLWan(base_dim=BASE_DIM, num_res_blocks=RES_BLOCKS)
    for layer in vae.decoder.modules():
        if isinstance(layer, nn.Conv3d):
            layer._conv_forward = _convolved
    assert isinstance(models.clip_reward, SamplingClipReward)
    rewards = ShrunkFrames(models.frame_reward), ShrunkClips(models.clip_reward)
    return Subject("wan-small", Models(backbone, WanVAEDecoder(vae), *rewards), SearchConfig())


def _random_backbone(sizes: WanConfig, latent_size: tuple[int, int]) -> WanBackbone:
    """With pocket's text encoder."""
    _, text = load_pocket()
    model = WanModel(sizes).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("modulation"):  # small steps, so that random latents stay within what the decoder knows
            parameter.mul_(0.1)

    def encode(prompt: str) -> Tensor:
        return text.encode(prompt)

    return WanBackbone(model, encode, latent_size, MemoryConfig())


def _convolved(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution by oneDNN. On a CPU torch leaves those of few channels to a kernel that is ten times slower, which
    the full size never meets."""
    return torch.mkldnn_convolution(input, weight, bias, (0, 0, 0), (1, 1, 1), (1, 1, 1), 1)


class ShrunkFrames:
    """A reward for small squares that looks at frames of any size; satisfies ``FrameReward``."""

    takes_bytes = True

    def __init__(self, inner: FrameReward) -> None:
        self.inner = inner

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        """See ``FrameReward.score``."""
        return self.inner.score(_shrunk(frames), text)


class ShrunkClips:
    """The same for a clip reward; satisfies ``SamplingClipReward``."""

    takes_bytes = True

    def __init__(self, inner: SamplingClipReward) -> None:
        self.inner = inner

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        """See ``SamplingClipReward.looks_at``."""
        return self.inner.looks_at(total, fps)

    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        """See ``SamplingClipReward.score_seen``."""
        return self.inner.score_seen(_shrunk(seen), total, fps, text)

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """See ``ClipReward.score``."""
        total = clips.shape[1]
        return self.score_seen(clips[:, self.looks_at(total, fps)], total, fps, text)


def _shrunk(frames: Tensor) -> Tensor:
    """``[N, T, 3, H, W]`` -> floats ``[N, T, 3, 64, 64]`` in 0..1, made one frame at a time."""
    small = [F.interpolate(floats(frame[None]), (64, 64), mode="area") for frame in frames.flatten(0, 1)]
    return torch.cat(small).unflatten(0, frames.shape[:2])


SUBJECTS = {"pocket": pocket, "random": random_model, "wan-small": wan_small}


def subject(name: str) -> Subject:
    """Loads a subject by its name. Raises ``UnknownNameError``."""
    if name not in SUBJECTS:
        raise UnknownNameError("subject", name, SUBJECTS)
    return SUBJECTS[name]()
