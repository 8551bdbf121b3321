"""TAEHV's decoder as a streaming codec: a light stand-in for a large VAE, for scoring candidates.

The layout is that of the TAEHV checkpoints (`taew2_1.pth` for Wan2.1; github.com/madebyollin/taehv, MIT), which are the
user's to download. Time is crossed only by blocks that see the frame before, so that one feature frame for each of them
is all that streaming needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamt1.core.devices import Halving
from streamt1.core.errors import CheckpointError
from streamt1.core.weights import load_strictly, read_weights
from streamt1.decoders.batching import bytes_of, in_batches, joined, state_of_each

State = tuple[Tensor, ...]
BLOCKS = 3
"""Memory blocks in each stage."""
FRAMES = (1, 2, 2)
"""Frames that each stage makes of one; every stage doubles height and width."""
TIME_STRIDE = math.prod(FRAMES)
"""Pixel frames per latent frame."""


@dataclass(frozen=True)
class TAEHVConfig:
    """Sizes of the decoder; the defaults are those of Wan2.1's.

    Attributes:
        channels: of the latents.
        widths: of the three stages and of the last layer.
        patch: side of the squares of pixels that the last layer writes.
    """

    channels: int = 16
    widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    patch: int = 1


def _conv(inner: int, outer: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, padding=1, bias=bias)


class SoftClamp(nn.Module):
    """Keeps latents within -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class MemoryBlock(nn.Module):
    """Three convolutions over a frame and the one before it, around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)
        )

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [N, T, C, h, w], before [N, C, h, w] or None (zeros) -> the same shape, and x of the last frame."""
        first = torch.zeros_like(x[:, 0]) if before is None else before
        past = torch.cat([first[:, None], x[:, :-1]], dim=1)
        y = self.conv(torch.cat([x, past], dim=2).flatten(0, 1)).view_as(x)
        return F.relu(y + x), x[:, -1]


class TimeGrow(nn.Module):
    """Makes `stride` frames of each one."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).unflatten(1, (-1, self.width)).flatten(0, 1)


class TAEHV(nn.Module):
    """The `decoder` of a TAEHV checkpoint, with its names."""

    def __init__(self, config: TAEHVConfig = TAEHVConfig()) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [SoftClamp(), _conv(config.channels, config.widths[0]), nn.ReLU()]
        for width, after, frames in zip(config.widths, config.widths[1:], FRAMES):
            layers += [MemoryBlock(width) for _ in range(BLOCKS)]
            layers += [nn.Upsample(scale_factor=2), TimeGrow(width, frames), _conv(width, after, bias=False)]
        self.decoder = nn.Sequential(*layers, nn.ReLU(), _conv(config.widths[-1], 3 * config.patch**2))

    def forward(self, latents: Tensor, state: State = ()) -> tuple[Tensor, State]:
        """Normalised latents [N, F, C, h, w] -> pixels [N, T, 3, H, W] around 0..1, and the state after them.

        The opening (state ()) has no past: of its first latent frame, only the last pixel frame is meant to be seen.
        """
        x, count, after = latents.flatten(0, 1), len(latents), list[Tensor]()
        for layer in self.decoder:
            if isinstance(layer, MemoryBlock):
                clip, last = layer(x.unflatten(0, (count, -1)), state[len(after)] if state else None)
                x = clip.flatten(0, 1)
                after.append(last)
            else:
                x = layer(x)
        frames = F.pixel_shuffle(x, self.config.patch).unflatten(0, (count, -1))
        return (frames if state else frames[:, TIME_STRIDE - 1 :]), tuple(after)


class TAEHVDecoder:
    """Satisfies the ``Decoder`` protocol. States are tuples of features; ``()`` opens a video.

    Args:
        decoder: on its device, in the dtype to decode in.
        fps: pixel frames per second of the videos.
        batch: candidates that are decoded in one call.

    Attributes:
        checked: whether pixels that are not finite raise ``NotFiniteError``.
    """

    time_stride = TIME_STRIDE
    checked = True

    def __init__(self, decoder: TAEHV, fps: int = 16, batch: int = 1) -> None:
        self.decoder = decoder.eval().requires_grad_(False)
        self.fps, self.batch = fps, Halving(batch)
        weight = next(decoder.parameters())
        self._dtype, self._device = weight.dtype, weight.device

    @classmethod
    def load(
        cls, path: Path, channels: int, device: torch.device, dtype: torch.dtype, fps: int = 16, batch: int = 1
    ) -> TAEHVDecoder:
        """The decoder of a TAEHV checkpoint (``.pth`` or ``.safetensors``); its encoder is not read.

        Raises ``CheckpointError`` for a file that is missing, damaged, or made for latents of other ``channels``.
        """
        decoder, weights = taehv_of(path, channels)
        load_strictly(decoder, weights, str(path))
        return cls(decoder.to(device=device, dtype=dtype), fps, batch)

    def start(self) -> State:
        """The state before the first chunk."""
        return ()

    @torch.no_grad()
    def decode(self, states: Sequence[State], latents: Tensor) -> tuple[Tensor, list[State]]:
        """Normalised latents ``[N, F, C, h, w]`` after N states -> frames ``[N, T, 3, H, W]`` uint8, N states.

        T = 1 + 4(F-1) after ``start()``, 4F later. Parents' states stay as they are. Frames come back on the host, as
        truncated bytes. Raises ``NotFiniteError``: see ``checked``.
        """
        return in_batches(self.batch, self._decode, states, latents)

    def _decode(self, states: Sequence[State], latents: Tensor) -> tuple[Tensor, list[State]]:
        carried = tuple(joined(features) for features in zip(*states, strict=True))
        frames, after = self.decoder(latents.to(self._device, self._dtype), carried)
        return bytes_of(frames.float(), self.checked), state_of_each(after)


def taehv_of(
    path: Path, channels: int, read: Callable[[Path], Mapping[str, Tensor]] = read_weights
) -> tuple[TAEHV, dict[str, Tensor]]:
    """The decoder in the sizes of a checkpoint, on the meta device, and the weights that belong into it.

    Raises ``CheckpointError`` for another model's file, or latents of other ``channels``.
    """
    found = {name: tensor for name, tensor in read(path).items() if name.startswith("decoder.")}
    config = _sizes(found, path)
    if config.channels != channels:
        raise CheckpointError(
            f"{path} decodes latents of {config.channels} channels, this model's have {channels}; for Wan2.1 it is"
            " taew2_1.pth"
        )
    with torch.device("meta"):
        decoder = TAEHV(config)
    return decoder, _latest_frames(found, decoder)


def _sizes(weights: dict[str, Tensor], path: Path) -> TAEHVConfig:
    """Read off the weights' shapes; the stages' strides are the same for all."""
    first, *stages, last = (f"decoder.{index}.weight" for index in (1, 8, 14, 20, 22))
    if any(name not in weights or weights[name].ndim != 4 for name in (first, *stages, last)):
        raise CheckpointError(f"{path} holds no decoder of TAEHV; for Wan2.1 it is taew2_1.pth")
    one, two, three, four = (len(weights[name]) for name in (first, *stages))
    patch = math.isqrt(len(weights[last]) // 3)
    return TAEHVConfig(weights[first].shape[1], (one, two, three, four), patch=patch)


def _latest_frames(weights: dict[str, Tensor], decoder: TAEHV) -> dict[str, Tensor]:
    """Where a checkpoint makes more frames of each one than we ask for, the last ones."""
    sizes = {name: len(tensor) for name, tensor in decoder.state_dict().items()}
    grown = {f"decoder.{i}.conv.weight" for i, layer in enumerate(decoder.decoder) if isinstance(layer, TimeGrow)}
    return {
        name: tensor[-sizes[name] :] if name in grown and tensor.ndim else tensor for name, tensor in weights.items()
    }
