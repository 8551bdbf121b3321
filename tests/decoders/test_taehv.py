"""TAEHV's decoder: the checkpoint's names, streaming equals whole, forks, and a reference written frame by frame."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.frames import truncated
from streamt1.decoders.taehv import TAEHV, TAEHVConfig, TAEHVDecoder

TINY = TAEHVConfig(channels=4, widths=(8, 6, 4, 4))


@pytest.fixture(scope="module")
def codec() -> TAEHVDecoder:
    torch.manual_seed(0)
    return TAEHVDecoder(TAEHV(TINY), batch=2)


def frame_by_frame(weights: dict[str, Tensor], latents: Tensor) -> Tensor:
    """Latents [F, C, h, w] of one video -> pixels: a walk over time, one frame of memory for each block."""
    memory: dict[int, Tensor] = {}

    def conv(name: str, x: Tensor) -> Tensor:
        weight = weights[f"decoder.{name}.weight"]
        return F.conv2d(x, weight, weights.get(f"decoder.{name}.bias"), padding=weight.shape[-1] // 2)

    def block(index: int, x: Tensor) -> Tensor:
        y = torch.cat([x, memory.get(index, torch.zeros_like(x))])
        memory[index] = x
        for layer in (0, 2):
            y = conv(f"{index}.conv.{layer}", y).relu()
        return (conv(f"{index}.conv.4", y) + x).relu()

    def stage(first: int, x: Tensor) -> list[Tensor]:
        for index in range(first, first + 3):
            x = block(index, x)
        x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
        return [conv(str(first + 5), part) for part in conv(f"{first + 4}.conv", x).split(len(x))]

    pixels = []
    for latent in latents:
        frames = [conv("1", torch.tanh(latent / 3) * 3).relu()]
        for first in (3, 9, 15):
            frames = [made for frame in frames for made in stage(first, frame)]
        pixels += [conv("22", frame.relu()) for frame in frames]
    return torch.stack(pixels)[3:].clamp(0, 1)


def within_one(some: Tensor, others: Tensor) -> bool:
    """Whether bytes are the same but for float noise, which can carry a value over a whole number."""
    return bool(((some.int() - others.int()).abs() <= 1).all()) and bool((some == others).float().mean() > 0.99)


def test_it_equals_a_walk_over_time(codec: TAEHVDecoder) -> None:
    latents = torch.randn(1, 5, 4, 3, 4) * 2
    frames, _ = codec.decode([codec.start()], latents)
    expected = frame_by_frame(codec.decoder.state_dict(), latents[0])
    assert frames.shape == (1, 17, 3, 24, 32)
    assert frames.dtype is torch.uint8
    assert within_one(frames[0], truncated(expected))
    seen, _ = codec.decoder(latents, codec.start())
    assert torch.equal(frames, truncated(seen)), "bytes are the truncated floats"
    assert torch.allclose(seen[0].clamp(0, 1), expected, atol=1e-5)


def test_streams_and_forks_equal_whole_decodes(codec: TAEHVDecoder) -> None:
    past, candidates, last = torch.randn(1, 3, 4, 4, 4), torch.randn(3, 3, 4, 4, 4), torch.randn(1, 3, 4, 4, 4)
    opening, [parent] = codec.decode([codec.start()], past)
    before = [feature.clone() for feature in parent]
    frames, states = codec.decode([parent] * len(candidates), candidates)
    assert (opening.shape[1], frames.shape[1]) == (9, 12)
    afters, _ = codec.decode(states, last.expand(3, -1, -1, -1, -1))
    for index, state in enumerate(states):
        after, _ = codec.decode([state], last)
        assert within_one(afters[index], after[0]), "several parents in one batch"
        whole, _ = codec.decode([codec.start()], torch.cat([past, candidates[index : index + 1], last], dim=1))
        assert within_one(torch.cat([opening, frames[index : index + 1], after], dim=1), whole)
    assert all(torch.equal(kept, now) for kept, now in zip(before, parent, strict=True))


def test_the_names_and_sizes_are_those_of_the_checkpoint() -> None:
    with torch.device("meta"):
        found = {name: tuple(tensor.shape) for name, tensor in TAEHV().state_dict().items()}
    expected = {
        "decoder.1.weight": (256, 16, 3, 3),
        "decoder.3.conv.0.weight": (256, 512, 3, 3),
        "decoder.5.conv.4.bias": (256,),
        "decoder.7.conv.weight": (256, 256, 1, 1),
        "decoder.8.weight": (128, 256, 3, 3),
        "decoder.13.conv.weight": (256, 128, 1, 1),
        "decoder.14.weight": (64, 128, 3, 3),
        "decoder.19.conv.weight": (128, 64, 1, 1),
        "decoder.20.weight": (64, 64, 3, 3),
        "decoder.22.bias": (3,),
    }
    assert {name: found[name] for name in expected} == expected
    assert not {name for name in found if name.split(".")[1] in {"0", "2", "6", "12", "18", "21"}}


def test_a_checkpoint_loads_strictly_and_without_its_encoder(tmp_path: Path) -> None:
    weights = {name: torch.randn_like(tensor) * 0.02 for name, tensor in TAEHV().state_dict().items()}
    grown = {
        **weights,
        "decoder.7.conv.weight": torch.randn(512, 256, 1, 1),
        "encoder.0.weight": torch.randn(64, 3, 3, 3),
    }
    torch.save(grown, tmp_path / "taew2_1.pth")
    codec = TAEHVDecoder.load(tmp_path / "taew2_1.pth", 16, torch.device("cpu"), torch.float32)
    kept = codec.decoder.state_dict()["decoder.7.conv.weight"]
    assert torch.equal(kept, grown["decoder.7.conv.weight"][256:]), "the latest frame of two"
    assert torch.equal(codec.decoder.state_dict()["decoder.22.weight"], weights["decoder.22.weight"])
    torch.save({**weights, "decoder.1.weight": torch.randn(256, 48, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="latents of 48 channels, this model's have 16"):
        TAEHVDecoder.load(tmp_path / "other.pth", 16, torch.device("cpu"), torch.float32)
    del weights["decoder.9.conv.2.bias"]
    torch.save(weights, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: decoder\.9\.conv\.2\.bias"):
        TAEHVDecoder.load(tmp_path / "less.pth", 16, torch.device("cpu"), torch.float32)
    torch.save({"encoder.0.weight": torch.randn(64, 3, 3, 3)}, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match="holds no decoder of TAEHV"):
        TAEHVDecoder.load(tmp_path / "half.pth", 16, torch.device("cpu"), torch.float32)
