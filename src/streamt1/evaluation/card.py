"""The numbers of pocket's model card, judged by the oracle, which neither the rewards nor the search can ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from streamt1.core.weights import bundled_path
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.evaluation.agreement import Judged, correlations, judge
from streamt1.evaluation.pool import Pool
from streamt1.evaluation.statistics import interval
from streamt1.media.pixels import contact_sheet
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run import Run
from streamt1.pocket.oracle import measure
from streamt1.pocket.paths import sample_take
from streamt1.pocket.scenes import Scene, sample_scene
from streamt1.pocket.world import render

FRAMES = 81
"""Pixel frames of 5 s."""
METHODS = ("greedy", "best_of_n", "stream_t1")
Log = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One clip to make."""

    scene: Scene
    seconds: float
    seed: int
    method: str


@dataclass(frozen=True, eq=False)
class Sample:
    """One generated clip, judged, and its model passes."""

    judged: Judged
    passes: int

    @property
    def oracle(self) -> float:
        return self.judged.oracle


def measure_card(
    pool: Pool,
    scenes: Sequence[Scene],
    seed: int = 0,
    lengths: Sequence[int] = (5, 30),
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Measures everything on held-out prompts; two objects on combinations that training has seen.

    Args:
        pool: of the pocket model, with the search settings to judge.
        scenes: what to ask for; ``evaluation_scenes`` holds prompts that no training stage has seen.
        seed: of worlds and runs.
        lengths: seconds to generate, of 5 and 30.
        log: takes a line now and then.

    Returns:
        A table that JSON can hold. Oracle values lie in 0..1; each comes as mean, low, high (95%), n.
    """
    true, kept = zip(*pool.map(_references, [(scene, seed + i) for i, scene in enumerate(scenes)]))
    card: dict[str, Any] = {"oracle_true": interval(true), "oracle_vae": interval(kept)}
    log(f"oracle on true renders {np.mean(true):.3f}, through the VAE {np.mean(kept):.3f}")
    for seconds in lengths:
        samples = {method: _samples(pool, scenes, seconds, method, seed, log) for method in METHODS}
        card[f"sample_{seconds}s"] = _by_measure(samples["greedy"])
        card[f"search_gain_{seconds}s"] = {
            f"over_{name}": interval([b.oracle - a.oracle for a, b in zip(samples[method], samples["stream_t1"])])
            for name, method in (("one_sample", "greedy"), ("best_of_4", "best_of_n"))
        }
        card[f"passes_{seconds}s"] = {method: group[0].passes for method, group in samples.items()}
        card.setdefault("reward_spearman", correlations([s.judged for group in samples.values() for s in group]))
    card["two_objects_5s"] = _by_measure(_samples(pool, _pairs(len(scenes), seed), 5, "greedy", seed, log))
    card["seconds_5s_4_candidates"] = min(pool.map(_seconds, [scenes[0]] * 2))
    card["weights_mb"] = sum(path.stat().st_size for path in bundled_path("x").parent.glob("*.safetensors")) / 1e6
    return card


def draw_samples(pool: Pool, scenes: Sequence[Scene], seed: int) -> Image.Image:
    """Twelve frames of one sample of each scene, a row each; the seeds are those of ``measure_card``."""
    tasks = [Task(scene, 5, seed + i, "greedy") for i, scene in enumerate(scenes)]
    videos = pool.map(_frames, tasks)
    return contact_sheet([(task.scene.prompt, frames) for task, frames in zip(tasks, videos)], columns=12)


def _references(pipeline: Pipeline, task: tuple[Scene, int]) -> tuple[float, float]:
    """What the oracle reads in a true render, and in what the VAE keeps of it."""
    decoder = pipeline.models.decoder
    assert isinstance(decoder, PocketDecoder), "the card is of the pocket model"
    scene, seed = task
    clip = render(scene, sample_take(np.random.default_rng((seed, 7)), scene), FRAMES)
    kept = decoder.decode([decoder.start()], decoder.encode(torch.from_numpy(clip)[None]))[0][0]
    return measure(clip, scene).mean, measure(kept.cpu().numpy(), scene).mean


def _samples(pool: Pool, scenes: Sequence[Scene], seconds: float, method: str, seed: int, log: Log) -> list[Sample]:
    begin = time.perf_counter()
    samples = pool.map(_sample, [Task(scene, seconds, seed + i, method) for i, scene in enumerate(scenes)])
    summary = " ".join(f"{key} {value:.3f}" for key, value in _by_measure(samples).items() if key != "n")
    log(f"{seconds:g} s, {method}: {summary} over {len(samples)} clips in {time.perf_counter() - begin:.0f} s")
    return samples


def _run(pipeline: Pipeline, task: Task) -> Run:
    return pipeline.run(task.scene.prompt, pipeline.chunks_for(task.seconds), task.seed, task.method)


def _frames(pipeline: Pipeline, task: Task) -> Tensor:
    return _run(pipeline, task).frames.cpu()


def _sample(pipeline: Pipeline, task: Task) -> Sample:
    run = _run(pipeline, task)
    return Sample(judge(pipeline.models, run.frames, task.scene), run.result.cost.model_passes)


def _by_measure(samples: Sequence[Sample]) -> dict[str, Any]:
    """The mean over all readings, with its interval, and the mean of each reading."""
    summaries = [sample.judged.reading.summary() for sample in samples]
    parts = {name: float(np.mean([s[name] for s in summaries])) for name in summaries[0] if name != "mean"}
    return {**interval([sample.oracle for sample in samples]), **parts}


def _pairs(count: int, seed: int) -> list[Scene]:
    rng = np.random.default_rng((seed, 11))
    return [sample_scene(rng, two=1.0) for _ in range(count)]


def _seconds(pipeline: Pipeline, scene: Scene) -> float:
    """Wall-clock seconds of a 5 s clip with 4 candidates, rewards included, once everything is warm."""
    begin = time.perf_counter()
    pipeline.run(scene.prompt, pipeline.chunks_for(5), policy="stream_t1")
    return time.perf_counter() - begin
