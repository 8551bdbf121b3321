"""Models of full size that sleep for as long as a GPU is computed to take, and make numbers that depend on their past.

A frame's pixels are all alike in each colour, so that frames take no memory until they travel.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from streamt1.core.identity import content_id
from streamt1.core.protocols import Models, Switched
from streamt1.core.timeline import Switch
from streamt1.core.types import RewardOutput, Route

PASS, DECODE, PICTURE, CLIP = 28.3, 13.6, 12.6, 12.0
"""TFLOP of a forward of a chunk, of a decoded latent frame, of a picture for HPSv3 and of a clip for VideoReward, 1.3B
at 480x832 (SPEC section 10)."""
SHAPE, STEPS, STRIDE, FPS, LOOKS = (3, 16, 60, 104), 4, 4, 16, 8
"""Of a chunk's latents; and the frames of a clip that the clip reward looks at are every so many."""
SIZE = (480, 832)


class Clock:
    """When a device's last call ended. Mutable.

    A call ends so many seconds after the one before it, or after its request came: what a CPU must copy in between,
    where a GPU would hardly notice, is part of the sleep.

    Args:
        pace: seconds a TFLOP.
    """

    def __init__(self, pace: float) -> None:
        self.pace, self._ended = pace, 0.0

    def request(self) -> None:
        """A request has come."""
        self._ended = time.monotonic()

    def work(self, tflop: float) -> None:
        self._ended += self.pace * tflop
        time.sleep(max(0.0, self._ended - time.monotonic()))


def sleeping_models(clock: Clock, shape: tuple[int, int, int, int] = SHAPE, size: tuple[int, int] = SIZE) -> Models:
    """Models that sleep by a clock.

    Scores look random and are the same for the same past; a clip's is a mean over its frames, so that it runs in
    families.
    """
    backbone, decoder = SleepingBackbone(clock, shape), SleepingDecoder(clock, size)
    return Models(backbone, decoder, SleepingFrameReward(clock), SleepingClipReward(clock))


class SleepingBackbone:
    """Satisfies ``Backbone``; a branch is the name of its past."""

    steps, draws = STEPS, STEPS - 1

    def __init__(self, clock: Clock, shape: tuple[int, int, int, int]) -> None:
        self._clock, self.chunk_shape = clock, shape

    def start(self, prompt: str) -> str:
        return content_id(prompt)

    def denoise(self, parents: Sequence[str], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        self._clock.work(PASS * len(parents) * len(steps))
        past = torch.tensor([int(parent[:4], 16) / 0xFFFF for parent in parents])
        made = (x + past.view(-1, 1, 1, 1, 1)) / 2
        return made, made

    def commit(self, branch: str, latents: Tensor, route: Route | None) -> str:
        self._clock.work(PASS)
        return content_id(branch, float(latents.flatten()[0]), route and route.value)

    def switch(self, branch: str, prompt: str, memory: Switch | None) -> Switched:
        return Switched(content_id(branch, prompt))

    def switch_passes(self, memory: Switch | None) -> int:
        return 0

    def inspect(self, branch: str) -> None:
        return None

    def release(self, branch: str) -> None:
        return None


class SleepingDecoder:
    """Satisfies ``Decoder``; a state is the name of its past."""

    fps, time_stride = FPS, STRIDE

    def __init__(self, clock: Clock, size: tuple[int, int]) -> None:
        self._clock, self._size = clock, size

    def start(self) -> str:
        return ""

    def decode(self, states: Sequence[str], latents: Tensor) -> tuple[Tensor, list[str]]:
        self._clock.work(DECODE * latents.shape[0] * latents.shape[1])
        after = [content_id(state, *own[:, 0, 0, 0].tolist()) for state, own in zip(states, latents)]
        count = latents.shape[1] * STRIDE - (0 if states[0] else STRIDE - 1)
        colours = torch.stack([_colours(name, count) for name in after])
        return colours[..., None, None].expand(-1, -1, -1, *self._size), after


class SleepingFrameReward:
    """Satisfies ``FrameReward``."""

    takes_bytes = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        self._clock.work(PICTURE * frames.shape[0] * frames.shape[1])
        return RewardOutput(_mean(frames))


class SleepingClipReward:
    """Satisfies ``SamplingClipReward``."""

    takes_bytes = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        return range(0, total, LOOKS)

    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        self._clock.work(CLIP * len(seen))
        return RewardOutput(_mean(seen))

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        return self.score_seen(clips[:, ::LOOKS], clips.shape[1], fps, text)


def _colours(name: str, count: int) -> Tensor:
    """Bytes ``[count, 3]`` of so many frames, which the name of their past decides."""
    found = hashlib.shake_128(name.encode()).digest(3 * count)
    return torch.tensor(list(found), dtype=torch.uint8).view(count, 3)


def _mean(clips: Tensor) -> Tensor:
    """0..1 for each of ``[N, T, 3, H, W]``: the mean brightness."""
    return clips[..., 0, 0].double().mean((1, 2)) / 255
