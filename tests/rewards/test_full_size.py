"""Both official rewards at full size on a CUDA device that is not there: what is copied, held and waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

from streamt1.bench.fake_cuda import CUDA, Device, Work, fake_cuda, placed
from streamt1.core.devices import HOST

pytest.importorskip("transformers")

from streamt1.rewards.hpsv3 import HPSv3Reward
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.sizes import Call, work_bytes
from streamt1.rewards.videoreward import Settings, VideoReward
from streamt1.rewards.words import Question
from tests.compiler import needs_compiler
from tests.rewards.tiny_qwen import SIZES, PlainWords, base_of

pytestmark = needs_compiler

GB = 10**9
WORDS = 800
"""Of the templates, about."""
PICTURES, CLIPS = (4, 8), (1, 2)


def network(size: str, folder: Path, home: torch.device) -> Qwen2VL:
    return placed(Qwen2VL(base_of(folder, size), SIZES[size][0]["vocab_size"]), torch.bfloat16, home)


def hpsv3(folder: Path, home: torch.device) -> HPSv3Reward:
    head = nn.Sequential(nn.Linear(3584, 1024), nn.ReLU(), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2))
    head = placed(head, torch.float32, home)
    return HPSv3Reward(network("7B", folder, home), head, PlainWords(WORDS, 1), "{text_prompt}", 4, CUDA)


def videoreward(folder: Path, home: torch.device) -> VideoReward:
    head = placed(nn.Linear(1536, 1, bias=False), torch.float32, home)
    settings = Settings(1, 2.0, 2.0, (448 * 224, 448 * 448), (0.0,) * 3, (1.0,) * 3)
    return VideoReward(network("2B", folder, home), head, PlainWords(WORDS, 3), "{text_prompt}", settings, 1, CUDA)


@dataclass(frozen=True)
class Counted:
    """One call.

    Attributes:
        weights: bytes on the device before the call.
        above: the most bytes beside them during it.
        tokens: of a question.
    """

    work: Work
    weights: int
    above: int
    tokens: int


def call(device: Device, reward: HPSv3Reward | VideoReward, count: int) -> Counted:
    """Scores pictures, or clips of 105 frames of which 14 are looked at, that lie on the host as bytes."""
    frames = 105 if isinstance(reward, VideoReward) else 1
    shown = torch.empty(count, frames, 3, 480, 832, dtype=torch.uint8)
    work, weights = device.begin(), device.live["cuda"]
    if isinstance(reward, VideoReward):
        scores = reward.score(shown, 16, "a cat").score
    else:
        picture = torch.empty(1, 3, 448, 448, dtype=torch.uint8)  # Pillow needs bytes, which fake tensors have not
        with mock.patch("streamt1.rewards.hpsv3.resized_picture", return_value=picture):
            scores = reward.score(shown, "a cat").score
    assert scores.device == CUDA
    assert scores.shape == (count,)
    vision = 7 * 24 * 42 // 4 if isinstance(reward, VideoReward) else 256
    tokens = vision + 4 + WORDS + len(reward.words.marks)
    return Counted(work, weights, device.peak["cuda"] - weights, tokens)


def test_hpsv3_at_home_on_the_device(tmp_path: Path) -> None:
    with fake_cuda() as device:
        reward = hpsv3(tmp_path, CUDA)
        few, many = (call(device, reward, count) for count in PICTURES)
    assert few.weights == pytest.approx(15.51 * GB, rel=0.01)
    assert few.work.syncs == many.work.syncs == 0
    picture = Call(4, 4, few.tokens, 1024)
    assert few.above == pytest.approx(work_bytes(picture, 3584, 18944, 2), rel=0.03)
    assert few.above < 0.45 * GB
    assert many.above == pytest.approx(few.above, rel=1e-3), "pictures are judged four at a time"
    assert few.work.to_device < 3e6, "four pictures as bytes, and little else"


def test_videoreward_at_home_on_the_device(tmp_path: Path) -> None:
    with fake_cuda() as device:
        reward = videoreward(tmp_path, CUDA)
        one, two = (call(device, reward, count) for count in CLIPS)
    assert one.weights == pytest.approx(4.42 * GB, rel=0.01)
    assert one.work.syncs == two.work.syncs == 0
    clip = Call(1, 1, one.tokens, 7 * 24 * 42)
    assert one.above == pytest.approx(work_bytes(clip, 1536, 8960, 2), rel=0.04)
    assert one.above < 0.3 * GB
    assert two.above == pytest.approx(one.above, rel=1e-3)
    assert one.work.to_device == pytest.approx(14 * 3 * 480 * 832, rel=0.01), "the frames that are looked at, as bytes"


def held(*modules: nn.Module, on: torch.device | None = None) -> int:
    """Bytes of weights, of all or of those on a device."""
    weights = (part for module in modules for part in module.parameters())
    return sum(part.numel() * part.element_size() for part in weights if on is None or part.device == on)


@pytest.mark.parametrize(("build", "count", "stay"), [(hpsv3, 5, 14), (videoreward, 2, 0)])
def test_what_streams_comes_once_and_two_layers_at_a_time(
    build: Callable[[Path, torch.device], HPSv3Reward | VideoReward], count: int, stay: int, tmp_path: Path
) -> None:
    with fake_cuda() as device:
        resident = call(device, build(tmp_path, CUDA), count)
        reward = build(tmp_path, HOST)
        text, visual = reward.model.qwen.language_model, reward.model.qwen.visual
        device.begin()  # what moves for good is no part of a call
        reward.stream(stay)
        streamed = call(device, reward, count)
    assert held(visual, on=CUDA) == (held(visual) if stay else 0), "the tower stays where a layer does"
    layer, row = held(text.layers[0]), 2 * reward.model.hidden
    rows = row * len({*reward.words.ids(Question(torch.empty(1, 3, 28, 28), ()))})
    assert streamed.weights == held(reward.model, reward.head, on=CUDA) >= stay * layer
    weights = held(reward.model, reward.head, on=HOST) - held(text.embed_tokens)
    inputs = resident.work.to_device + rows
    assert streamed.work.to_device == pytest.approx(inputs + weights, abs=2**16), "some indices in more or fewer parts"
    assert (streamed.work.to_host, streamed.work.syncs) == (0, 0)
    asked = Call(count, reward.batch.limit or count, streamed.tokens, 1024 if build is hpsv3 else 7 * 24 * 42)
    hidden, inner = (SIZES["7B" if build is hpsv3 else "2B"][0][key] for key in ("hidden_size", "intermediate_size"))
    planned = work_bytes(asked, hidden, inner, 2, held(visual, on=HOST), layer)
    assert streamed.above == pytest.approx(planned, rel=0.03)
