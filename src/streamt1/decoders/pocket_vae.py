"""The pocket VAE: Wan's contract at 64x64 (4x in time, 8x in space, first frame alone, causal), 8 channels.

The first pixel frame is repeated to a group of four; each group of four frames is pixel-unshuffled to 192 channels at a
quarter of the size and becomes one latent frame. Time is crossed only by kernel-2 causal mixes, so that the streaming
state is one feature frame for each mix, and streaming equals decoding everything at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamt1.core.devices import Halving
from streamt1.core.types import Fit
from streamt1.core.weights import load_bundled, load_strictly
from streamt1.decoders.batching import in_batches, joined, state_of_each

GROUP = 4
"""Pixel frames in one latent frame (after the first)."""
UNSHUFFLE = 4
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class PocketVAEConfig:
    """Sizes of the VAE. `fine` channels at a quarter of the frame's side, `coarse` at an eighth."""

    channels: int = 8
    fine: int = 128
    coarse: int = 192
    size: int = 64
    fps: int = 16


class ChannelNorm(nn.Module):
    """RMS normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6)
        return (x * scale * self.weight[:, None, None]).to(x.dtype)


class ResBlock(nn.Module):
    """Two 3x3 convolutions around a skip; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class TimeMix(nn.Module):
    """Causal kernel-2 convolution in time: each feature frame sees itself and the one before (first: zeros)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 1)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor, frames: int, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [B*F, C, h, w], before [B, C, h, w] or None -> the mixed frames, and x of the last frame."""
        clip = x.unflatten(0, (-1, frames))
        first = torch.zeros_like(clip[:, 0]) if before is None else before.to(x.dtype)
        past = torch.cat([first[:, None], clip[:, :-1]], dim=1).flatten(0, 1)
        return x + self.conv(torch.cat([past, x], dim=1)), clip[:, -1]


class CausalStack(nn.Module):
    """A sequence of layers on [B*F, C, h, w] in which every TimeMix carries one frame of state."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x [B, F, C, h, w] -> the same with the stack's output channels and size, and the state after it."""
        frames = x.shape[1]
        y = x.flatten(0, 1)
        after: list[Tensor] = []
        for layer in self.layers:
            if isinstance(layer, TimeMix):
                y, last = layer(y, frames, None if state is None else state[len(after)])
                after.append(last)
            else:
                y = layer(y)
        return y.unflatten(0, (-1, frames)), tuple(after)


def group_frames(frames: Tensor) -> Tensor:
    """Pixels [B, 1+4(F-1), 3, H, W] in [0, 1] -> [B, F, 192, H/4, W/4] in [-1, 1]."""
    first = frames[:, :1].expand(-1, GROUP, -1, -1, -1)
    grouped = torch.cat([first, frames[:, 1:]], dim=1).unflatten(1, (-1, GROUP)).flatten(2, 3)
    return F.pixel_unshuffle(grouped * 2 - 1, UNSHUFFLE)


def ungroup_frames(grouped: Tensor, opening: bool) -> Tensor:
    """[B, F, 192, H/4, W/4] -> pixels [B, T, 3, H, W] around [0, 1]; an opening group gives its last frame alone."""
    frames = F.pixel_shuffle(grouped, UNSHUFFLE).unflatten(2, (GROUP, 3)).flatten(1, 2)
    return (frames[:, GROUP - 1 :] if opening else frames) / 2 + 0.5


class PocketVAE(nn.Module):
    """Encoder and decoder. Latents are normalised by the stored mean and standard deviation of each channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: PocketVAEConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PocketVAEConfig()
        fine, coarse, patch = config.fine, config.coarse, 3 * GROUP * UNSHUFFLE**2
        self.encoder = CausalStack(
            nn.Conv2d(patch, fine, 3, padding=1), TimeMix(fine), ResBlock(fine),
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1), TimeMix(coarse), ResBlock(coarse),
            TimeMix(coarse), ResBlock(coarse),
            ChannelNorm(coarse), nn.SiLU(), nn.Conv2d(coarse, 2 * config.channels, 1),
        )  # fmt: skip
        self.decoder = CausalStack(
            nn.Conv2d(config.channels, coarse, 3, padding=1), TimeMix(coarse), ResBlock(coarse),
            TimeMix(coarse), ResBlock(coarse),
            nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2), TimeMix(fine), ResBlock(fine),
            TimeMix(fine), ResBlock(fine), ResBlock(fine),
            ChannelNorm(fine), nn.SiLU(), nn.Conv2d(fine, patch, 3, padding=1),
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("std", torch.ones(config.channels))

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [B, T, 3, H, W] in [0, 1] -> mean and log variance, each [B, F, C, h, w], not normalised."""
        moments, _ = self.encoder(group_frames(frames))
        mean, log_variance = moments.float().chunk(2, dim=2)
        return mean, log_variance.clamp(-20, 10)

    def encode(self, frames: Tensor) -> Tensor:
        """Pixels [B, 1+4(F-1), 3, H, W] in [0, 1] -> normalised latents [B, F, C, h, w]."""
        mean, _ = self.posterior(frames)
        return (mean - self.mean[:, None, None]) / self.std[:, None, None]

    def decode(self, latents: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Normalised latents [B, F, C, h, w] -> pixels [B, T, 3, H, W] in [0, 1], and the state after them.

        state None opens a video: T = 1 + 4(F-1); otherwise T = 4F.
        """
        grouped, after = self.decoder(latents * self.std[:, None, None] + self.mean[:, None, None], state)
        return ungroup_frames(grouped, opening=state is None).float().clamp(0, 1), after


class PocketDecoder:
    """Streaming decoder over a PocketVAE; satisfies the `Decoder` protocol. States are tuples; () opens a video.

    Args:
        batch: candidates that are decoded in one call; None means all of them. The features of more than four fit no
            processor's cache, and take longer each.
    """

    def __init__(self, vae: PocketVAE, batch: int | None = 4) -> None:
        self.vae, self._batch = vae.eval().requires_grad_(False), Halving(batch)
        self.fps: int = vae.config.fps
        self.time_stride = GROUP

    @classmethod
    def bundled(cls, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> PocketDecoder:
        """The VAE that ships with the package. Raises CheckpointError when its file is missing or damaged."""
        weights, config = load_bundled("pocket_vae")
        vae = PocketVAE(PocketVAEConfig(**config["model"]))
        load_strictly(vae, weights, "pocket_vae")
        return cls(vae.to(device=device, dtype=dtype))

    def start(self) -> State:
        """The state before the first chunk."""
        return ()

    @torch.no_grad()
    def decode(self, states: Sequence[State], latents: Tensor) -> tuple[Tensor, list[State]]:
        """Latents [N, F, C, h, w] after N states -> frames [N, T, 3, H, W] in [0, 1], N states.

        T = 1 + 4(F-1) after `start()`, 4F later. Parents' states stay as they are.
        """
        return in_batches(self._batch, self._decode, states, latents)

    def _decode(self, states: Sequence[State], latents: Tensor) -> tuple[Tensor, list[State]]:
        carried = tuple(joined(features) for features in zip(*states, strict=True)) or None
        frames, after = self.vae.decode(latents.to(self.vae.mean), carried)
        return frames, state_of_each(after)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Pixels [N, 1+4(F-1), 3, H, W] in [0, 1] -> normalised latents [N, F, C, h, w], float32."""
        return self.vae.encode(frames.to(self.vae.mean)).float()


class PocketEncoder:
    """Satisfies ``Encoder``, with the VAE that a ``PocketDecoder`` decodes with."""

    def __init__(self, decoder: PocketDecoder) -> None:
        side = decoder.vae.config.size
        self.size: tuple[int, int] = (side, side)
        self.fit: Fit = "cover"
        self._decoder = decoder

    def encode(self, frames: Tensor) -> Tensor:
        """See ``Encoder.encode``: the mean."""
        return self._decoder.encode(frames[None])[0]
