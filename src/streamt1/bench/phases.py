"""Does the memory plan say what a run needs? A search at full size without numbers, its peaks beside the plan."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from streamt1.bench.fake_cuda import Device, fake_cuda
from streamt1.bench.full_models import fake_models
from streamt1.bench.subjects import PROMPT
from streamt1.config.load import load_config
from streamt1.config.schema import RunConfig
from streamt1.core.protocols import Branch, DecoderState, Models, Switched
from streamt1.core.timeline import Scene, Switch, Timeline
from streamt1.core.types import Remembered, RewardOutput, Route
from streamt1.families.family import PHASES
from streamt1.families.wan_sizes import VAES
from streamt1.placement.memory_plan import GB, RESERVE, Room, plan_memory
from streamt1.search.engine import search
from streamt1.search.start import start

OTHER = "a green star sliding on a teal plain background"


def measure(
    name: str = "longlive",
    device: float = 24,
    host: float = 128,
    chunks: int = 10,
    sinks: bool = True,
    bits: int = 16,
) -> dict[str, Any]:
    """A search at the placement that is planned for so many GB.

    Before its last three chunks it only writes memory, until that is as full as it gets, if every chunk that leaves
    becomes a sink; without ``sinks`` all of them are dropped. ``bits``: of its pages. The last chunk is of another
    scene.

    Returns:
        Of each phase the most bytes alive (GB), and what the plan says without its reserve; of the last chunk but one
        the GB that crossed the bus each way.
    """
    config = load_config(name, {"memory.bits": bits})
    plan = plan_memory(config, Room(device * GB, host * GB))
    config = plan.applied(config)
    with fake_cuda() as counter:
        meter = Meter(counter, chunks - 3, Route.APPEND if sinks else Route.DISCARD)
        models = metered(fake_models(config), meter, VAES[config.wan.vae].scale)
        crossed = _searched(meter, models, config, chunks)
    planned = {phase: (plan.in_phase(phase) - RESERVE) / GB for phase in PHASES}
    return {
        "preset": name, "device_gb": device, "peak_gb": {phase: meter.peak[phase] / GB for phase in PHASES},
        "planned_gb": planned, "ratio": {phase: meter.peak[phase] / GB / planned[phase] for phase in PHASES},
        "to_device_gb": crossed[0] / GB, "to_host_gb": crossed[1] / GB, "placement": plan.placement.summary(),
    }  # fmt: skip


def _searched(meter: Meter, models: Models, config: RunConfig, chunks: int) -> tuple[int, int]:
    """Bytes that crossed the bus in the last chunk but one, after which memory is as full as it gets."""
    settings = dataclasses.replace(config.effective_search, sinking=False)
    models.backbone.release(models.backbone.start(OTHER))  # read now, so that the switch writes memory and no more
    timeline = Timeline((Scene(PROMPT, chunks - 1), Scene(OTHER, 1)))
    crossed = [(0, 0)]
    for state in search(models, settings, start(models, settings, timeline)):
        crossed.append((meter.to_device, meter.to_host))
        meter.next_chunk(state.chunk)
    return crossed[-2]


class Meter:
    """The peaks of each phase, and what crossed the bus. Mutable.

    Attributes:
        route: of every chunk.
        skips: whether the present chunk comes before those that are measured.
    """

    def __init__(self, counter: Device, first: int, route: Route) -> None:
        self._counter, self._first, self.route = counter, first, route
        self.skips = first > 0
        self.peak: dict[str, int] = defaultdict(int)
        self.host_peak: dict[str, int] = defaultdict(int)
        self.to_device = self.to_host = 0

    def next_chunk(self, chunk: int) -> None:
        """What crossed the bus is counted for each chunk."""
        self.skips, self.to_device, self.to_host = chunk < self._first, 0, 0

    def take(self, phase: str, work: Callable[[], Any]) -> Any:
        """Does a piece of work of a phase."""
        counted = self._counter.begin()
        answer = work()
        self.peak[phase] = max(self.peak[phase], self._counter.peak["cuda"])
        self.host_peak[phase] = max(self.host_peak[phase], self._counter.peak["cpu"])
        self.to_device += counted.to_device
        self.to_host += counted.to_host
        return answer


def metered(models: Models, meter: Meter, scale: int = 8) -> Models:
    """The same models, each call taken by the meter; whatever a reward answers, the first of each beam survives.

    ``scale``: pixels of a side for one latent pixel.
    """
    rewards = _FrameReward(models.frame_reward, meter), _ClipReward(models.clip_reward, meter)
    return Models(_Backbone(models.backbone, meter), _Decoder(models.decoder, meter, scale), *rewards, checked=False)


class _Backbone:
    def __init__(self, inner: Any, meter: Meter) -> None:
        self._inner, self._meter = inner, meter
        self.chunk_shape, self.steps, self.draws = inner.chunk_shape, inner.steps, inner.draws
        self.first_steps, self.first_draws, self.made = inner.first_steps, inner.first_draws, inner.made

    def start(self, prompt: str) -> Branch:
        return self._meter.take("encode", lambda: self._inner.start(prompt))

    def denoise(self, parents: Sequence[Branch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        if self._meter.skips:
            return x, x
        return self._meter.take("denoise", lambda: self._inner.denoise(parents, x, noise, steps))

    def commit(self, branch: Branch, latents: Tensor, route: Route | None) -> Branch:
        """By the meter's route, whatever the rewards say."""
        return self._meter.take("commit", lambda: self._inner.commit(branch, latents, self._meter.route))

    def switch(self, branch: Branch, prompt: str, memory: Switch | None) -> Switched:
        return self._meter.take("commit", lambda: self._inner.switch(branch, prompt, memory))

    def switch_passes(self, memory: Switch | None) -> int:
        return self._inner.switch_passes(memory)

    def inspect(self, branch: Branch) -> Remembered | None:
        return None

    def release(self, branch: Branch) -> None:
        self._inner.release(branch)


class _Decoder:
    def __init__(self, inner: Any, meter: Meter, scale: int) -> None:
        self._inner, self._meter, self._scale = inner, meter, scale
        self.fps, self.time_stride = inner.fps, inner.time_stride

    def start(self) -> DecoderState:
        return self._inner.start()

    def decode(self, states: Sequence[DecoderState], latents: Tensor) -> tuple[Tensor, list[DecoderState]]:
        if self._meter.skips:
            frames = latents.shape[1] * self.time_stride
            height, width = (self._scale * side for side in latents.shape[-2:])
            return torch.zeros(len(latents), frames, 3, height, width, dtype=torch.uint8), list(states)
        return self._meter.take("decode", lambda: self._inner.decode(states, latents))


class _FrameReward:
    """Asked in earnest, and answered for, since without numbers it says nothing; ``_ClipReward`` likewise."""

    takes_bytes = True

    def __init__(self, inner: Any, meter: Meter) -> None:
        self._inner, self._meter = inner, meter

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        if not self._meter.skips:
            self._meter.take("score", lambda: self._inner.score(frames, text))
        return _answer(len(frames))


class _ClipReward:
    takes_bytes = True

    def __init__(self, inner: Any, meter: Meter) -> None:
        self._inner, self._meter = inner, meter

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        if not self._meter.skips:
            self._meter.take("score", lambda: self._inner.score(clips, fps, text))
        return _answer(len(clips))

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        return self._inner.looks_at(total, fps)

    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        if not self._meter.skips:
            self._meter.take("score", lambda: self._inner.score_seen(seen, total, fps, text))
        return _answer(len(seen))


class _Scores:
    """Numbers where a tensor is meant: a fake one has none."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = list(values)

    def tolist(self) -> list[float]:
        return self._values


def _answer(count: int) -> RewardOutput:
    """Of candidates that stand beam by beam, the first of each half wins, so that beams never merge."""
    half = max(1, count // 2)
    return RewardOutput(cast(Tensor, _Scores([float(index % half == 0) - index / 100 for index in range(count)])), {})
