"""Makes one clip and measures it: the row of an evaluation's table."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import accumulate
from typing import Any

import numpy as np

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.core.devices import resolve_device
from streamt1.core.errors import RewardError
from streamt1.core.frames import shown_to
from streamt1.core.peak import peak_mb, reset_peak
from streamt1.core.protocols import Models
from streamt1.core.remote import here
from streamt1.core.timeline import Timeline
from streamt1.core.types import Route
from streamt1.evaluation.judge import Showing, oracle_columns, oracle_for, showings
from streamt1.evaluation.metrics import measure_clip
from streamt1.evaluation.picks import PickWatcher, pick_watcher
from streamt1.evaluation.tasks import ClipTask
from streamt1.media.mp4 import write_video
from streamt1.media.pixels import shown, to_bytes
from streamt1.memory.branch import MemoryConfig
from streamt1.pipeline.pipeline import Pipeline
from streamt1.search.engine import Engine, Result
from streamt1.search.score import finite
from streamt1.search.watcher import Watcher

Row = dict[str, Any]


def make_clip(pipeline: Pipeline, task: ClipTask) -> Row:
    """The clip's row; its video is written where the task says.

    A clip whose rewards all failed becomes a row with an ``error`` and no measurements.
    """
    row = _head(task)
    try:
        row |= _measured(pipeline, task)
    except RewardError as error:
        row["error"] = str(error)
    return {name: finite(value) if isinstance(value, float) else value for name, value in row.items()}


def _head(task: ClipTask) -> Row:
    beam_size, top_k = task.budget
    names: Row = {"prompt": task.prompt, "seed": task.seed, "method": task.name}
    if len(task.scenes) > 1:
        names["scenes"] = task.pattern
    return {**names, "beam_size": beam_size, "top_k": top_k, "length": task.length, "jobs": task.jobs, "error": None}


def _measured(pipeline: Pipeline, task: ClipTask) -> Row:
    config = task.config(pipeline.config)
    models = _with_memory(pipeline.models, config.memory)
    oracle, timeline = oracle_for(config), clip_timeline(pipeline, task)
    search = config.effective_search
    picks = pick_watcher(models.clip_reward, oracle, task.regret_every, search.pruning) if oracle else None
    seen = dataclasses.replace(models, clip_reward=picks) if picks else models
    engine = Engine(seen, search, picks or Watcher())
    device = resolve_device(config.device)
    reset_peak(device)
    result = engine.run(timeline, seed=task.seed)
    row = {"frames": len(result.frames), **_cost(result, picks.seconds if picks else 0.0), "peak_mb": peak_mb(device)}
    if oracle:
        row |= oracle_columns(oracle, _scenes(result, timeline))
    row |= measure_clip(to_bytes(result.frames)) | _rewards(result, models, timeline) | _routes(result)
    if picks:
        row |= _picks(picks)
    if task.video is not None:
        write_video(task.video, shown(result.frames), result.fps)
    return row


def _with_memory(models: Models, memory: MemoryConfig) -> Models:
    """The same models over a memory of other rules, where the method asks for them."""
    backbone = models.backbone
    if not isinstance(backbone, WanBackbone):
        return models
    return dataclasses.replace(models, backbone=backbone.with_memory(memory))


def clip_timeline(pipeline: Pipeline, task: ClipTask) -> Timeline:
    """The clip's scenes in chunks. Raises ``ConfigError`` and ``PromptError``."""
    if len(task.scenes) == 1:
        return pipeline.timeline(task.prompt, seconds=task.seconds)
    return pipeline.timeline([(prompt, task.seconds) for prompt in task.scenes])


def _scenes(result: Result, timeline: Timeline) -> list[Showing]:
    """The chosen clip, scene by scene."""
    until = list(accumulate(len(chunk.frames) for chunk in result.beam.chunks))
    ends = [until[start - 1] for start in (*timeline.starts[1:], timeline.chunks or 0)]
    return showings(result.frames, [scene.prompt for scene in timeline.scenes], ends)


def _cost(result: Result, looking: float) -> Row:
    """Counts, and seconds without those that were spent on looking at picks."""
    cost, seconds = result.cost.record(), dict(result.cost.seconds)
    for kind in ("reward", "total"):
        seconds[kind] = seconds.get(kind, 0.0) - looking
    counts = {name: cost[name] for name in ("model_passes", "latents_decoded", "latents_drafted", "reward_calls")}
    spent = {f"seconds_{kind}": round(seconds.get(kind, 0.0), 4) for kind in ("model", "decode", "reward")}
    return {**counts, "seconds": round(seconds["total"], 4), **spent}


def _rewards(result: Result, models: Models, timeline: Timeline) -> Row:
    """The search's own judges: the whole clip's reward, and the mean of its chunks' frame rewards."""
    scores = [chunk.score.short if chunk.score else math.nan for chunk in result.beam.chunks]
    if not all(map(math.isfinite, scores)):
        reward = models.frame_reward
        texts = [timeline.scenes[timeline.place(chunk.index)].prompt for chunk in result.beam.chunks]
        shown = (shown_to(reward, here(chunk.frames)[None]) for chunk in result.beam.chunks)
        scores = [reward.score(frames, text).score.item() for frames, text in zip(shown, texts)]
    final = finite(result.final[result.beams.index(result.beam)])
    return {"reward_final": final, "reward_short": finite(float(np.mean(scores)))}


def _routes(result: Result) -> Row:
    """How many chunks of the clip got each route; all 0 where nothing is routed."""
    found = Counter(chunk.route for chunk in result.beam.chunks)
    return {f"route_{route.value}": found[route] for route in Route}


def _picks(watched: PickWatcher) -> Row:
    """The search's choices, mean over those looked at."""
    if not watched.picks:
        return {}
    names = ("chosen", "random", "best", "regret")
    means = {f"pick_{name}": float(np.mean([getattr(pick, name) for pick in watched.picks])) for name in names}
    return {**means, "picks": len(watched.picks)}
