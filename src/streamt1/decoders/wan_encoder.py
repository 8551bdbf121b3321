"""Pictures and clips to the latents of Wan's VAEs, for videos that begin with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.types import Fit

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

STRIDE = 4
"""Pixel frames per latent frame, after a clip's first, which gives one."""


class WanVAEEncoder:
    """Satisfies ``Encoder``, with the VAE that a ``WanVAEDecoder`` decodes with.

    Args:
        vae: diffusers' model, on its device, in the dtype to encode in.
        size: height and width of the frames, pixels.
        fit: see ``core.protocols.Encoder``.
    """

    def __init__(self, vae: AutoencoderKLWan, size: tuple[int, int], fit: Fit = "cover") -> None:
        self.vae: Any = vae.eval().requires_grad_(False)
        self.size: tuple[int, int] = size
        self.fit: Fit = fit
        weight = next(vae.encoder.parameters())
        shape = (1, -1, 1, 1, 1)
        self._mean = torch.tensor(vae.config["latents_mean"], device=weight.device).view(shape)
        self._std = torch.tensor(vae.config["latents_std"], device=weight.device).view(shape)
        self._weight = weight

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Frames ``[T, 3, H, W]`` in 0..1, T = 1 + 4(F-1) -> normalised latents ``[F, C, h, w]``, float32: the mean.

        Raises ``ConfigError`` for another number of frames, or another size.
        """
        if len(frames) % STRIDE != 1:
            raise ConfigError(f"{len(frames)} frames are no whole latents: give 1 + a multiple of {STRIDE}")
        if tuple(frames.shape[-2:]) != self.size:
            raise ConfigError(f"frames of {tuple(frames.shape[-2:])} pixels: this model encodes {self.size}")
        video = frames.to(self._weight).mul(2).sub(1).transpose(0, 1)[None]
        mean = self.vae.encode(video).latent_dist.mode().float()
        return ((mean - self._mean) / self._std)[0].transpose(0, 1)

    def encode_picture(self, picture: Tensor) -> Tensor:
        """A picture ``[3, H, W]`` in 0..1 -> its latent ``[1, C, h, w]``."""
        return self.encode(picture[None])
