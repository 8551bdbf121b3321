"""The streaming decode of Wan's VAE, on a tiny random one."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.frames import truncated
from streamt1.decoders.wan_vae import WanVAEDecoder

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.7, 1.0, 2.0],
    )  # fmt: skip


def whole(vae, latents: Tensor) -> Tensor:
    """Diffusers' own decode of whole videos, [N, T, 3, H, W], as the official code makes bytes of it."""
    mean, std = (torch.tensor(vae.config[name]).view(1, 1, -1, 1, 1) for name in ("latents_mean", "latents_std"))
    with torch.no_grad():
        video = vae.decode((latents * std + mean).transpose(1, 2)).sample
    return truncated(video.transpose(1, 2) / 2 + 0.5)


def within_one(some: Tensor, others: Tensor) -> bool:
    """Whether bytes are the same but for float noise, which can carry a value over a whole number."""
    return bool(((some.int() - others.int()).abs() <= 1).all()) and bool((some == others).float().mean() > 0.99)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_of_chunks_equals_the_whole_decode(vae, batch: int) -> None:
    codec = WanVAEDecoder(vae, batch=batch)
    latents = torch.randn(1, 9, 4, 4, 6)
    state, frames = codec.start(), []
    for chunk in latents.split(3, dim=1):
        out, [state] = codec.decode([state], chunk)
        frames.append(out)
    assert [part.shape[1] for part in frames] == [9, 12, 12]
    assert torch.equal(torch.cat(frames, dim=1), whole(vae, latents))


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_forked_candidates_equal_their_own_whole_decodes(vae, batch: int) -> None:
    codec = WanVAEDecoder(vae, batch=batch)
    past, candidates = torch.randn(1, 3, 4, 4, 4), torch.randn(3, 3, 4, 4, 4)
    last = torch.randn(1, 3, 4, 4, 4)
    _, [parent] = codec.decode([codec.start()], past)
    before = [part.clone() if isinstance(part, Tensor) else part for part in parent]
    frames, states = codec.decode([parent] * len(candidates), candidates)
    afters, _ = codec.decode(states, last.expand(3, -1, -1, -1, -1))
    for index, state in enumerate(states):
        after, _ = codec.decode([state], last)
        assert within_one(afters[index], after[0]), "several parents in one batch"
        expected = whole(vae, torch.cat([past, candidates[index : index + 1], last], dim=1))
        assert within_one(torch.cat([frames[index : index + 1], after], dim=1), expected[:, 9:])
    for kept, now in zip(before, parent, strict=True):
        assert torch.equal(kept, now) if isinstance(kept, Tensor) else kept == now


def test_it_loads_from_a_folder_and_refuses_what_is_not_one(vae, tmp_path: Path) -> None:
    vae.save_pretrained(tmp_path / "vae")
    codec = WanVAEDecoder.load(tmp_path / "vae", torch.device("cpu"), torch.float32)
    latents = torch.randn(2, 3, 4, 4, 4)
    assert within_one(codec.decode([()] * len(latents), latents)[0], whole(vae, latents))
    with pytest.raises(CheckpointError, match="there is no VAE"):
        WanVAEDecoder.load(tmp_path / "nowhere", torch.device("cpu"), torch.float32)
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="no whole safetensors file"):
        WanVAEDecoder.load(tmp_path / "vae", torch.device("cpu"), torch.float32)


def spoilt(folder: Path, spoil: str) -> str:
    """Spoils a saved VAE; returns what must be said of it."""
    from safetensors.torch import load_file, save_file

    file, config = folder / "diffusion_pytorch_model.safetensors", folder / "config.json"
    weights, sizes = load_file(file), json.loads(config.read_text())
    if spoil == "missing":
        weights.pop("decoder.conv_in.weight")
        told = r"1 missing: decoder\.conv_in\.weight"
    elif spoil == "prefix":
        weights = {f"vae.{key}": value for key, value in weights.items()}
        told = r"missing: .*unexpected: vae\."
    elif spoil == "layers":
        sizes["num_res_blocks"] += 1
        told = "missing: "
    elif spoil == "shape":
        weights["decoder.conv_in.bias"] = torch.zeros(3)
        told = r"1 of another shape: decoder\.conv_in\.bias"
    elif spoil == "nan":
        weights["decoder.conv_in.bias"][0] = torch.nan
        told = r"NaN or infinite values in 1 weights: decoder\.conv_in\.bias"
    else:
        sizes["_class_name"] = "AutoencoderKL"
        told = "is of a AutoencoderKL, not"
    save_file(weights, file)
    config.write_text(json.dumps(sizes))
    return told


@pytest.mark.parametrize("spoil", ["missing", "prefix", "layers", "shape", "nan", "kind"])
def test_no_weight_is_made_up(vae, tmp_path: Path, spoil: str) -> None:
    """diffusers itself loads all of these, with random values in the gaps and a word on stderr at most."""
    vae.save_pretrained(tmp_path)
    told = spoilt(tmp_path, spoil)
    with pytest.raises(CheckpointError, match=told) as caught:
        WanVAEDecoder.load(tmp_path, torch.device("cpu"), torch.float32)
    assert "\n" not in str(caught.value)
