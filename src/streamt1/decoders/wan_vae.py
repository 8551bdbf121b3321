"""Wan's VAEs as streaming codecs: each latent frame is decoded once, over the feature cache of its own past.

Wan2.1's has 16 channels at an eighth of the size. Wan2.2's, of the 5B models, has 48 at a sixteenth: its decoder gives
pictures of half the size in 12 channels, of which every pixel becomes four.

This file and ``wan_lean`` touch private names of diffusers' ``AutoencoderKLWan`` (its decoder's feature cache), for
which the project pins diffusers to one minor version. SPEC section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamt1.core.devices import Halving, move
from streamt1.core.errors import CheckpointError, needs_extra
from streamt1.core.json_files import read_sizes
from streamt1.core.weights import load_strictly, one_line, read_weights
from streamt1.decoders.batching import bytes_of, in_batches, joined
from streamt1.decoders.wan_lean import make_lean

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

Feature = Tensor | str | None
"""What one causal convolution keeps of its past: the last frames of its input, or a mark of the decoder's own."""
State = tuple[Feature, ...]


class WanVAEDecoder:
    """Satisfies the ``Decoder`` protocol. States are tuples of features; ``()`` opens a video.

    Args:
        vae: diffusers' model, on its device, in the dtype to decode in.
        fps: pixel frames per second of the videos.
        states_on_host: keep the states of candidates in host memory; the parent's comes over as it is used.
        batch: candidates that are decoded in one call. At 480x832 one state takes 1.76 GiB in bfloat16, and one
            candidate fills a GPU; tiny models like more.

    Attributes:
        checked: whether pixels that are not finite raise ``NotFiniteError``.
    """

    time_stride = 4
    checked = True

    def __init__(self, vae: AutoencoderKLWan, fps: int = 16, batch: int = 1, states_on_host: bool = False) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.fps, self.batch = fps, Halving(batch)
        weight = next(vae.decoder.parameters())
        shape = (1, 1, -1, 1, 1)
        self._mean = torch.tensor(vae.config["latents_mean"], device=weight.device).view(shape)
        self._std = torch.tensor(vae.config["latents_std"], device=weight.device).view(shape)
        self._dtype, self._device, self._patch = weight.dtype, weight.device, vae.config.get("patch_size") or 1
        self._home = torch.device("cpu") if states_on_host else weight.device
        self._features = sum(type(module).__name__ == "WanCausalConv3d" for module in vae.decoder.modules())
        if self._device.type == "cuda" and self._dtype in (torch.bfloat16, torch.float16):
            make_lean(vae.decoder)

    @classmethod
    def load(
        cls,
        path: Path,
        device: torch.device,
        dtype: torch.dtype,
        fps: int = 16,
        batch: int = 1,
        states_on_host: bool = False,
    ) -> WanVAEDecoder:
        """The VAE of a folder in diffusers' layout, or an original ``Wan2.1_VAE.pth``, loaded strictly.

        Raises ``CheckpointError`` for files that are missing, damaged or do not fit, ``MissingExtraError``.
        """
        return cls(load_vae(path, device, dtype), fps, batch, states_on_host)

    def start(self) -> State:
        """The state before the first chunk."""
        return ()

    @torch.no_grad()
    def decode(self, states: Sequence[State], latents: Tensor) -> tuple[Tensor, list[State]]:
        """Normalised latents ``[N, F, C, h, w]`` after N states -> frames ``[N, T, 3, H, W]`` uint8, N states.

        T = 1 + 4(F-1) after ``start()``, 4F later. Parents' states stay as they are. Frames come back on the host: half
        a minute of them would take gigabytes of the device. They are bytes as the official code makes them, truncated.

        Raises ``NotFiniteError``: see ``checked``.
        """
        return in_batches(self.batch, self._decode, states, latents)

    def _decode(self, states: Sequence[State], latents: Tensor) -> tuple[Tensor, list[State]]:
        count = len(latents)
        begun = zip(*states, strict=True)
        carried: list[Any] = [_carried(features, self._device) for features in begun] or [None] * self._features
        z = (latents.to(self._mean) * self._std + self._mean).transpose(1, 2).to(self._dtype)
        x = self.vae.post_quant_conv(z)
        pixels = []
        for index in range(x.shape[2]):
            opening = not states[0] and index == 0
            frame = x[:, :, index : index + 1]
            pixels.append(self.vae.decoder(frame, feat_cache=carried, feat_idx=[0], first_chunk=opening))
        video = unpatched(torch.cat(pixels, dim=2), self._patch).transpose(1, 2)
        states = [_of_candidate(carried, index, count, self._home) for index in range(count)]
        return bytes_of(video.float() / 2 + 0.5, self.checked), states


def unpatched(video: Tensor, patch: int) -> Tensor:
    """``[N, C p p, T, H, W]`` -> ``[N, C, T, H p, W p]``: channels tell channel, column and row of a pixel."""
    if patch == 1:
        return video
    columns_first = video.unflatten(1, (-1, patch, patch))
    return columns_first.permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)


def _carried(features: Sequence[Feature], device: torch.device) -> Feature:
    """One feature of all candidates, on the device; marks and None are the same for all."""
    here = {id(feature): feature.to(device) for feature in features if isinstance(feature, Tensor)}
    return joined([here[id(feature)] for feature in features]) if here else features[0]


def _of_candidate(features: list[Feature], index: int, count: int, home: torch.device) -> State:
    """One candidate's features, in memory of their own, so that losers can be freed."""

    def own(feature: Feature) -> Feature:
        if not isinstance(feature, Tensor):
            return feature
        return feature.to(home) if count == 1 else feature[index : index + 1].to(home, copy=True)

    return tuple(own(feature) for feature in features)


def load_vae(path: Path, device: torch.device, dtype: torch.dtype) -> AutoencoderKLWan:
    """Diffusers' model with a user's weights; see ``WanVAEDecoder.load``."""
    if not path.exists():
        raise CheckpointError(f"there is no VAE at {path}; download the preset, or give the right path")
    vae: Any = empty_vae(path)
    load_strictly(vae, vae_weights(path), str(path))
    move(vae, device, dtype)
    return vae


def empty_vae(path: Path) -> AutoencoderKLWan:
    """Wan's VAE in the sizes of a folder's ``config.json`` (a single file has Wan2.1's), on the meta device.

    Raises ``CheckpointError``, ``MissingExtraError``.
    """
    with needs_extra("wan", "decoding with Wan's VAE"):
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
    if not path.is_dir():
        with torch.device("meta"):
            return AutoencoderKLWan()
    file = path / "config.json"
    sizes = read_sizes(file)
    kind = sizes.get("_class_name", "AutoencoderKLWan")
    if kind != "AutoencoderKLWan":
        raise CheckpointError(f"{file} is of a {kind}, not of an AutoencoderKLWan; give the VAE of Wan2.1")
    try:
        with torch.device("meta"):
            return AutoencoderKLWan.from_config(sizes)  # pyright: ignore[reportReturnType]
    except Exception as error:  # whatever diffusers raises for sizes that cannot be
        raise CheckpointError(
            f"{file} is no configuration of Wan's VAE: {one_line(error)}; download it again"
        ) from error


def vae_weights(path: Path, read: Callable[[Path], Mapping[str, Any]] = read_weights) -> dict[str, Tensor]:
    """The weights under diffusers' names, whichever layout the file has. Raises ``CheckpointError``."""
    weights = dict(read(path))
    if path.is_dir():
        return weights
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    try:
        return convert_wan_vae_to_diffusers(dict(weights))
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not Wan2.1's VAE: {one_line(error)} is missing or misplaced") from error
