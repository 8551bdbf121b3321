"""How long does a chunk take on a GPU at full size, and its parts? Weights are random: no download is needed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch

from streamt1.bench.full_models import random_models
from streamt1.bench.subjects import PROMPT
from streamt1.config.load import load_config
from streamt1.config.schema import RunConfig
from streamt1.core.errors import ConfigError
from streamt1.core.peak import MB, peak_mb, reset_peak
from streamt1.core.protocols import Models
from streamt1.core.types import Route
from streamt1.pipeline.pipeline import Pipeline
from streamt1.placement.chunk_work import ChunkWork, Task
from streamt1.placement.memory_plan import GB, RESERVE, plan_memory, room_for
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkStarted, Event

REPEATS = 3
LATE = 4
"""The last chunks of a video, whose median is taken: memory is as full as it gets."""


def measure(preset: str = "longlive", policy: str = "greedy", chunks: int = 14, **settings: Any) -> dict[str, Any]:
    """A search at the placement that is planned for the GPU that is there, and its parts.

    Args:
        settings: of the configuration, by their keys.

    Returns:
        ``chunk_seconds``: of a late chunk: from one to the next, with all that the host does, up to frames as bytes on
        the host; no video file. ``fps``: pixel frames a second, of late chunks; ``fps_whole`` of the whole video, the
        prompt's encoding and the first passes among them. ``parts_seconds``: what the parts of such a chunk take apart,
        and ``parts`` each of them once. ``peak_gb``: allocated on the device in the search, and what the plan says.

    Raises:
        ConfigError: there is no GPU.
    """
    if not possible():
        raise ConfigError("there is no CUDA device here to measure: streamt1 bench passes counts without one")
    config = load_config(preset, {"policy": policy, **settings})
    plan = plan_memory(config, room_for(config))
    config = plan.applied(config)
    device = torch.device("cuda", torch.cuda.current_device())
    models = random_models(config, device)
    if config.compile:
        models.backbone.model.compile_blocks()  # pyright: ignore[reportAttributeAccessIssue]
    parts = dict(_parts(models, config))
    reset_peak(device)
    watch = _Watch()
    begin = time.perf_counter()
    video = Pipeline(config, models).run(PROMPT, chunks, watcher=watch)
    whole = time.perf_counter() - begin
    seconds = median(watch.between()[-LATE:])
    return {
        "gpu": torch.cuda.get_device_name(device), "preset": preset, "policy": policy, "settings": settings,
        "chunk_seconds": seconds, "fps": _frames(models) / seconds, "fps_whole": len(video.frames) / whole,
        "parts_seconds": sum(spent * times for spent, times in parts.values()),
        "parts": {name: spent for name, (spent, _) in parts.items()},
        "peak_gb": peak_mb(device) * MB / GB, "planned_gb": (plan.peak - RESERVE) / GB,
    }  # fmt: skip


def possible() -> bool:
    """Whether there is a GPU to measure."""
    return torch.cuda.is_available()


def _frames(models: Models) -> int:
    return models.backbone.chunk_shape[0] * models.decoder.time_stride


def _parts(models: Models, config: RunConfig) -> Iterator[tuple[str, tuple[float, int]]]:
    """Seconds of each kind of a chunk's work, the best of some rounds, and how often a chunk needs it."""
    search = config.effective_search
    work = ChunkWork(models, config, Route.APPEND if search.sinking else Route.DISCARD)
    try:
        for task in work.tasks():
            spent = _seconds(task)
            if task.per_chunk and (search.scores_chunks or task.phase != "score"):
                yield task.name, (spent, task.per_chunk)
    finally:
        work.release()


def _seconds(task: Task) -> float:
    rounds = []
    for turn in range(task.rounds + REPEATS * (task.per_chunk > 0)):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        task.work(min(turn, task.rounds - 1))
        torch.cuda.synchronize()
        rounds.append(time.perf_counter() - begin)
    return min(rounds)


class _Watch(Watcher):
    """When each chunk was begun."""

    def __init__(self) -> None:
        self._begun: list[float] = []

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkStarted):
            self._begun.append(time.perf_counter())

    def between(self) -> list[float]:
        """Seconds from each chunk's beginning to that of the next."""
        return [after - before for before, after in zip(self._begun, self._begun[1:])]
