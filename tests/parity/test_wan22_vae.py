"""Wan2.2's VAE: decoded in a stream and at once, and encoded, against the official code's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamt1.core.seeds import generator
from streamt1.decoders.wan_encoder import WanVAEEncoder
from streamt1.decoders.wan_vae import WanVAEDecoder
from tests.parity.goldens import GoldenSet, sets_or_skip

BYTE = 1 / 255
"""Our frames are bytes, truncated."""


@pytest.fixture(scope="module", params=sets_or_skip("longlive2"), ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> tuple[Any, dict[str, np.ndarray]]:
    diffusers = pytest.importorskip("diffusers.models.autoencoders.autoencoder_kl_wan")
    golden_set = GoldenSet(Path(request.param))
    stored = golden_set.arrays("vae.npz")
    vae = diffusers.AutoencoderKLWan(**golden_set.manifest["vae_config"])
    weights = {
        key.removeprefix("diffusers."): torch.from_numpy(stored[key]) for key in stored if key.startswith("diff")
    }
    vae.load_state_dict(weights)
    return vae, stored


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_decoded_in_a_stream(golden: tuple[Any, dict[str, np.ndarray]], chunk: int) -> None:
    vae, stored = golden
    decoder, latents = WanVAEDecoder(vae, fps=24), torch.from_numpy(stored["latents"])
    states, shown = [decoder.start()], []
    for part in latents.split(chunk):
        frames, states = decoder.decode(states, part[None])
        shown.append(frames[0])
    made = torch.cat(shown).float() / 255
    np.testing.assert_allclose(made.numpy(), stored["pixels"] / 2 + 0.5, rtol=0, atol=1.01 * BYTE)


def test_encoded(golden: tuple[Any, dict[str, np.ndarray]]) -> None:
    vae, stored = golden
    count, height, width = 1 + 4 * (len(stored["encoded"]) - 1), *(16 * side for side in stored["encoded"].shape[2:])
    clip = torch.rand(1, 3, count, height, width, generator=generator(int(stored["encode_video_seed"])))
    np.testing.assert_allclose((clip * 2 - 1).flatten()[:8], stored["encode_video_first8"], atol=1e-6)
    encoder = WanVAEEncoder(vae, (height, width))
    latents = encoder.encode(clip[0].transpose(0, 1))
    np.testing.assert_allclose(latents.numpy(), stored["encoded"], rtol=0, atol=1e-4)
    first = encoder.encode_picture(clip[0, :, 0])
    np.testing.assert_allclose(first.numpy(), stored["encoded"][:1], rtol=0, atol=1e-4)
