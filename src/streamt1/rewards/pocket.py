"""The two pocket rewards: small networks trained on preference pairs of the pocket world. Pixels in, scores out.

The frame reward (HPSv3's place in the paper, section 3.3) looks at single frames, the clip reward (VideoReward's) at
short snippets spread over a clip, with three heads: visual quality, motion quality, text alignment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamt1.core.errors import ConfigError
from streamt1.core.frames import floats
from streamt1.core.types import RewardOutput
from streamt1.core.weights import load_bundled, load_strictly
from streamt1.pocket.vocabulary import TEXT_LENGTH, VOCABULARY_SIZE, padded

HEADS = ("vq", "mq", "ta")
SNIPPETS = 6
"""Snippets that the clip reward looks at, spread evenly."""
SNIPPET_FRAMES = 4
SNIPPET_STEP = 3
"""Pixel frames between the frames of a snippet, so that one spans 10 frames at 16 fps (scaled to other rates)."""
TRAINED_FPS = 16.0
LONGEST = 84
"""Pixel frames of seven chunks, about the longest clips in training; longer ones are read in windows."""
BLOCK = 48
"""Frames that go through a network together: more than fit a processor's cache are slower, and need more memory."""
PLACE = slice(7, 9)
"""Where the object's x and y stand among what the clip reward is told of a frame: after the score and six readings."""


@dataclass(frozen=True)
class RewardConfig:
    """Sizes of a reward: a trunk that reads frames, and heads over it; it knows `words`.

    Attributes:
        heads: scores that come out.
        frames: that are looked at together; 1 for the frame reward.
        readings: values that the network also learns to read off a frame: first those of its quality, then what is
            seen, the object's place x and y, its size, its detail's tone, and which of two backgrounds is shown.
        keypoints: places that the trunk follows, as (x, y).
    """

    frames: int = 1
    heads: int = 1
    width: int = 48
    text: int = 96
    words: int = VOCABULARY_SIZE
    keypoints: int = 12
    readings: int = 11


class TextReader(nn.Module):
    """Words at their places, summed through one hidden layer: [B, TEXT_LENGTH] tokens -> [B, text]."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.words = words
        self.table = nn.Embedding(words * TEXT_LENGTH, width)
        self.mix = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(TEXT_LENGTH, device=tokens.device) * self.words
        return self.mix((self.table(tokens + places) * (tokens > 0)[..., None]).sum(1))


class TextGate(nn.Module):
    """Scales and shifts feature maps by the text, then mixes them with a 3x3 convolution around a skip."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.film = nn.Linear(text, 2 * width)
        self.norm = nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        scale, shift = self.film(text)[..., None, None].chunk(2, dim=1)
        y = self.conv1(F.silu(self.norm(x)))
        return x + self.conv2(F.silu(y * (1 + scale) + shift))


class FrameTrunk(nn.Module):
    """One frame and the text -> features: what is there (pooled), and where (soft keypoints)."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__()
        width, text = config.width, config.text
        self.text = TextReader(config.words, text)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip
        self.fine = TextGate(width, text)
        self.points = nn.Conv2d(width, config.keypoints, 1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(TextGate(2 * width, text) for _ in range(2))
        self.size = 4 * width + 2 * config.keypoints

    def forward(self, frames: Tensor, text: Tensor) -> Tensor:
        """frames [N, 3, 64, 64] in [0, 1], text [N, text] -> [N, size]."""
        x = self.fine(self.stem(frames * 2 - 1), text)
        heat = self.points(F.silu(x)).float()
        grid = torch.linspace(-1, 1, heat.shape[-1], device=heat.device)
        weights = heat.flatten(2).softmax(-1).view_as(heat)
        places = torch.cat([(weights.sum(2) * grid).sum(-1), (weights.sum(3) * grid).sum(-1)], dim=1)
        x = self.down(F.silu(x))
        for gate in self.coarse:
            x = gate(x, text)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3)), places.to(x.dtype)], dim=1)


class FrameNet(nn.Module):
    """The frame reward: a score of each frame, and, for training, readings of what is in it."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = FrameTrunk(config)
        wide = 4 * config.width
        self.hidden = nn.Sequential(nn.Linear(self.trunk.size + config.text, wide), nn.SiLU())
        self.score = nn.Linear(wide, config.heads)
        self.read = nn.Linear(wide, config.readings)

    def forward(self, frames: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """frames [N, 3, 64, 64] in [0, 1], tokens [N, TEXT_LENGTH] -> scores [N, heads], readings [N, readings]."""
        text = self.trunk.text(tokens)
        return self.judged(self.trunk(frames, text), text)

    def judged(self, features: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the trunk [N, size], text [N, text] -> scores [N, heads], readings [N, readings]."""
        hidden = self.hidden(torch.cat([features, text], dim=1))
        return self.score(hidden), self.read(hidden)


class ClipNet(nn.Module):
    """The clip reward: what the frame reward reads in the frames of all snippets, joined in time."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__()
        self.config = config
        self.eye = FrameNet(replace(config, frames=1, heads=1))
        self.said = 1 + config.readings
        wide = 128
        moves = 4 * (SNIPPET_FRAMES - 1)
        self.snippet = nn.Sequential(
            nn.Linear(SNIPPET_FRAMES * self.said + moves + config.text, wide), nn.SiLU(),
            nn.Linear(wide, wide), nn.SiLU(),
        )  # fmt: skip
        steps = 2 * (SNIPPETS - 1)
        self.joined = nn.Sequential(
            nn.Linear(3 * wide + 3 * self.said + steps + 1 + config.text, wide), nn.SiLU(), nn.Dropout(0.1),
            nn.Linear(wide, config.heads),
        )  # fmt: skip

    def look(self, frames: Tensor, text: Tensor) -> Tensor:
        """frames [N, 3, 64, 64] in [0, 1], text [N, text] -> [N, said]: the score, then the readings."""
        return torch.cat(self.eye.judged(self.eye.trunk(frames, text), text), dim=1)

    def join(self, said: Tensor, text: Tensor, gap: Tensor) -> Tensor:
        """What `look` gives, [N, SNIPPETS, SNIPPET_FRAMES, said], text [N, text] -> [N, heads].

        gap: seconds from one snippet's beginning to the next's, [N].
        """
        places = said[..., PLACE]
        moves = (places[:, :, 1:] - places[:, :, :-1]).flatten(2) * 8
        told = text[:, None].expand(-1, SNIPPETS, -1)
        y = self.snippet(torch.cat([said.flatten(2), moves, moves.abs(), told], dim=2))
        frames = said.flatten(1, 2)
        pooled = [y.mean(1), y.std(1), y[:, -1], frames.mean(1), frames.amin(1), frames.std(1)]
        steps = (places[:, 1:, 0] - places[:, :-1, 0]).flatten(1) * 2
        return self.joined(torch.cat([*pooled, steps, gap[:, None], text], dim=1))


def snippet_frames(total: int, fps: float = TRAINED_FPS) -> Tensor:
    """Which frames of a clip the clip reward looks at, [SNIPPETS, SNIPPET_FRAMES]; total >= 1."""
    step = max(1, round(SNIPPET_STEP * fps / TRAINED_FPS))
    span = min(step * (SNIPPET_FRAMES - 1), total - 1)
    starts = torch.linspace(0, total - 1 - span, SNIPPETS).round().long()
    return (starts[:, None] + torch.arange(SNIPPET_FRAMES) * step).clamp(max=total - 1)


def snippet_gap(total: int, fps: float = TRAINED_FPS) -> float:
    """Seconds from the beginning of one snippet to the next."""
    starts = snippet_frames(total, fps)[:, 0]
    return float(starts[-1] - starts[0]) / (SNIPPETS - 1) / fps


def windows(total: int, fps: float = TRAINED_FPS) -> list[range]:
    """The parts of a clip that are read each on its own, as long as the longest clips in training, evenly spread."""
    length = min(total, max(1, round(LONGEST * fps / TRAINED_FPS)))
    begins = torch.linspace(0, total - length, math.ceil(total / length)).round().long().tolist()
    return [range(begin, begin + length) for begin in begins]


def distinct(frames: Tensor) -> tuple[list[int], list[int]]:
    """Which of frames [N, ...] differ: where the first of each kind stands, and every frame's kind.

    Compares digests of bytes, so that no copy of a frame is kept.
    """
    kinds: dict[bytes, int] = {}
    first: list[int] = []
    which: list[int] = []
    for index, frame in enumerate(frames):
        kind = kinds.setdefault(sha256(frame.cpu().numpy().tobytes()).digest(), len(kinds))
        if kind == len(first):
            first.append(index)
        which.append(kind)
    return first, which


def check_square(frames: Tensor) -> None:
    """Raises ConfigError for frames [..., H, W] that these rewards were not made for."""
    height, width = frames.shape[-2:]
    if height != width or height % 8:
        raise ConfigError(
            f"pocket's rewards look at square pictures with sides in multiples of 8, not at {height}x{width};"
            " choose the rewards of this model, or a square size"
        )


N = TypeVar("N", bound=nn.Module)


def _load(name: str, kind: Callable[[RewardConfig], N], device: str | torch.device) -> tuple[N, Tensor, Tensor]:
    weights, config = load_bundled(name)
    sizes = RewardConfig(**config["model"])
    net = kind(sizes)
    load_strictly(net, weights, name)
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    return net.to(device).eval().requires_grad_(False), mean.to(device), std.to(device)


class PocketFrameReward:
    """Frame reward; satisfies `FrameReward`. Scores have mean 0 and deviation 1 over rollouts of training prompts."""

    takes_bytes = True

    def __init__(self, net: FrameNet, mean: Tensor, std: Tensor) -> None:
        self.net, self.mean, self.std = net, mean, std

    @classmethod
    def bundled(cls, device: str | torch.device = "cpu") -> PocketFrameReward:
        """The reward that ships with the package. Raises CheckpointError."""
        return cls(*_load("pocket_frame_reward", FrameNet, device))

    @torch.no_grad()
    def score(self, frames: Tensor, text: str) -> RewardOutput:
        """Frames [N, T, 3, 64, 64] in [0, 1] or uint8 -> mean over each candidate's frames, [N].

        Components: `min`, the worst frame. Raises PromptError for words outside the vocabulary.
        """
        check_square(frames)
        count, length = frames.shape[:2]
        flat = floats(frames.flatten(0, 1)).to(self.mean)
        tokens = torch.tensor([padded(text, self.net.config.words)], device=self.mean.device)
        raw = torch.cat([self.net(block, tokens.expand(len(block), -1))[0] for block in flat.split(BLOCK)])
        each = ((raw - self.mean) / self.std).view(count, length)
        return RewardOutput(each.mean(1), {"min": each.amin(1)})


class PocketClipReward:
    """Clip reward, a `SamplingClipReward`. The score is the sum of its three heads, each normalised over rollouts."""

    takes_bytes = True

    def __init__(self, net: ClipNet, mean: Tensor, std: Tensor) -> None:
        self.net, self.mean, self.std = net, mean, std

    @classmethod
    def bundled(cls, device: str | torch.device = "cpu") -> PocketClipReward:
        """The reward that ships with the package. Raises CheckpointError."""
        return cls(*_load("pocket_clip_reward", ClipNet, device))

    @torch.no_grad()
    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """Clips [N, T, 3, 64, 64] in [0, 1] or uint8 at `fps`, any T >= 1 -> overall score [N]; components vq, mq, ta.

        A frame that several clips share, as candidates of one parent do, is looked at once. Of clips of more than 84
        frames the score is the mean over windows of 84.
        """
        total = clips.shape[1]
        return self.score_seen(clips[:, self.looks_at(total, fps)], total, fps, text)

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        """The frames of all snippets of all windows."""
        parts = [part.start + snippet_frames(len(part), fps) for part in windows(total, fps)]
        return torch.stack(parts).flatten().tolist()

    @torch.no_grad()
    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        """See `SamplingClipReward.score_seen`."""
        check_square(seen)
        net, parts = self.net, windows(total, fps)
        tokens = torch.tensor([padded(text, net.config.words)], device=self.mean.device)
        told = net.eye.trunk.text(tokens)
        read = self._look(seen.flatten(0, 1), told).unflatten(0, (-1, SNIPPETS, SNIPPET_FRAMES))
        gap = torch.full((len(read),), snippet_gap(len(parts[0]), fps)).to(self.mean)
        raw = net.join(read, told.expand(len(read), -1), gap).view(len(seen), len(parts), -1).mean(1)
        heads = (raw - self.mean) / self.std
        return RewardOutput(heads.sum(1), {name: heads[:, index] for index, name in enumerate(HEADS)})

    def _look(self, frames: Tensor, told: Tensor) -> Tensor:
        """Frames [N, 3, 64, 64], text [1, text] -> [N, said]."""
        first, which = distinct(frames)
        said = []
        for begin in range(0, len(first), BLOCK):
            block = floats(frames[first[begin : begin + BLOCK]]).to(self.mean)
            said.append(self.net.look(block, told.expand(len(block), -1)))
        return torch.cat(said)[which]
