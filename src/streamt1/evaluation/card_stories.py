"""The part of pocket's model card that is about stories: scenes after a switch, clear details, and what returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from streamt1.core.timeline import Scene as Part
from streamt1.core.timeline import Timeline
from streamt1.evaluation.agreement import HEADS, Judged, correlations, judge
from streamt1.evaluation.pool import Pool
from streamt1.evaluation.statistics import interval
from streamt1.media.pixels import contact_sheet
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pocket.identity import identity
from streamt1.pocket.oracle import details
from streamt1.pocket.paths import CHUNK, Floats
from streamt1.pocket.scenes import Scene
from streamt1.pocket.stories import evaluation_casts, first_frame

SCENES = 4
CHUNKS = 3
"""Of each scene."""
DRAWN, DRAWN_CHUNKS = 6, 7
"""The same of the stories on a sheet."""
RETURN_CHUNKS = 5
"""Of each scene where one returns: a window of four chunks has forgotten it."""
SINKLESS = {"memory.sink": 0, "memory.max_sink": 0}
"""Settings of a memory that has forgotten what has left its window."""
CLEAR = 0.5
"""A detail is clear in a chunk when the mean of `details` over the frames that show the object whole is at least so."""
FEWEST = 3
"""Frames of a chunk that must show the object whole, for its detail to be judged."""
Log = Callable[[str], None]


@dataclass(frozen=True)
class Told:
    """One video to make: scenes in the order in which they are shown."""

    scenes: tuple[Scene, ...]
    seed: int
    chunks: int = CHUNKS


def measure_stories(
    pool: Pool, sinkless: Pool, count: int, seed: int = 0, log: Log = lambda line: None
) -> dict[str, Any]:
    """Measures one sample of held-out stories: ABCD, each scene of three chunks, and ABA, each of five.

    Args:
        sinkless: the same model under ``SINKLESS``.

    Returns a table that JSON can hold; every value comes as mean, low, high (95%), n, by story:
    `scene_1` to `scene_4`, the oracle's mean of each scene under its own prompt; `later_less_first`; the share of
    chunks whose detail is clear, in first scenes and after a switch; the identity of what returns, with the sink,
    without it, and the difference. The rewards' rank correlations with the oracle come as numbers, over whole scenes
    and over the first chunks after switches; and the share of switches after which new content scores above old.
    """
    casts = evaluation_casts(count, SCENES)
    rows = pool.map(_read, [Told(cast, seed + i) for i, cast in enumerate(casts)])
    means = [[scene.oracle for scene in row.scenes] for row in rows]
    card: dict[str, Any] = {f"scene_{n + 1}": interval([row[n] for row in means]) for n in range(SCENES)}
    card["later_less_first"] = interval([float(np.mean(row[1:])) - row[0] for row in means])
    for name, part in (("clear_in_first_scenes", slice(0, 1)), ("clear_after_a_switch", slice(1, None))):
        shares = [np.concatenate(row.clear[part]) for row in rows]
        card[name] = interval([float(share.mean()) for share in shares if len(share)])
    log("ABCD: " + " ".join(f"{name} {value['mean']:.3f}" for name, value in card.items()))
    returns = [Told((a, b, a), seed + i, RETURN_CHUNKS) for i, (a, b, *_) in enumerate(casts)]
    kept, lost = (one.map(_identity, returns) for one in (pool, sinkless))
    gained = [with_it - without for with_it, without in zip(kept, lost)]
    for name, values in (("", kept), ("_without_sink", lost), ("_gained_by_sink", gained)):
        card[f"identity_aba{name}"] = interval(values)
        log(f"ABA: identity{name} {np.mean(values):.3f}")
    card["spearman_of_scenes"] = correlations([scene for row in rows for scene in row.scenes])
    card["spearman_after_a_switch"] = correlations([new for row in rows for new, _ in row.switches])
    card["new_above_old"] = _new_above_old([pair for row in rows for pair in row.switches])
    return card


def draw_stories(pool: Pool, count: int, seed: int) -> Image.Image:
    """Frames of one sample of each of some stories of six scenes, a row each, two from every scene of seven chunks."""
    told = [Told(cast, seed + i, DRAWN_CHUNKS) for i, cast in enumerate(evaluation_casts(count, DRAWN))]
    videos = pool.map(_video, told)
    labels = ["; ".join(_short(scene.prompt) for scene in one.scenes) for one in told]
    return contact_sheet(list(zip(labels, videos)), columns=2 * DRAWN)


def _short(prompt: str) -> str:
    """What a prompt asks for, without the words between."""
    return " ".join(word for word in prompt.split() if word not in ("a", "an", "with", "on", "background"))


def shots(frames: Floats, told: Told) -> list[Floats]:
    """The part of each scene, [T, 3, 64, 64]."""
    edges = [first_frame(told.chunks * index) for index in range(len(told.scenes) + 1)]
    return [frames[begin:end] for begin, end in pairwise(edges)]


def clear_chunks(clip: Floats, scene: Scene, chunk: int) -> Floats:
    """1 or 0 for every chunk of a scene that begins with some chunk: whether its detail is clear, where it is seen."""
    (clear, _, whole), found = details(clip, scene), []
    begin, ends = first_frame(chunk), chunk
    while (start := first_frame(ends) - begin) < len(clip):
        ends += 1
        part = slice(start, first_frame(ends) - begin)
        seen = clear[part][whole[part]]
        if len(seen) >= FEWEST:
            found.append(float(seen.mean() >= CLEAR))
    return np.array(found)


def _video(pipeline: Pipeline, told: Told) -> Tensor:
    parts = [Part(scene.prompt, told.chunks) for scene in told.scenes]
    return pipeline.run(Timeline(tuple(parts)), None, told.seed, "greedy").frames.cpu()


@dataclass(frozen=True)
class _Story:
    """What is read of a story.

    Attributes:
        scenes: each under its own prompt.
        clear: of each scene which chunks are clear.
        switches: the first chunk of each later scene, and the chunk before it, both under the new prompt.
    """

    scenes: list[Judged]
    clear: list[Floats]
    switches: list[tuple[Judged, Judged]]


def _read(pipeline: Pipeline, told: Told) -> _Story:
    video, models = _video(pipeline, told), pipeline.models
    parts = [torch.from_numpy(part) for part in shots(video.numpy(), told)]
    clear = [clear_chunks(part.numpy(), told.scenes[i], told.chunks * i) for i, part in enumerate(parts)]
    around = [
        (judge(models, new[:CHUNK], scene), judge(models, old[-CHUNK:], scene))
        for (old, new), scene in zip(pairwise(parts), told.scenes[1:])
    ]
    return _Story([judge(models, part, scene) for part, scene in zip(parts, told.scenes)], clear, around)


def _new_above_old(switches: Sequence[tuple[Judged, Judged]]) -> dict[str, float]:
    """The share of switches where a reward prefers what was asked for to what was shown before."""
    preferred = {"frame": [new.frame > old.frame for new, old in switches]}
    preferred |= {name: [new.heads[name] > old.heads[name] for new, old in switches] for name in HEADS}
    return {name: float(np.mean(each)) for name, each in preferred.items()}


def _identity(pipeline: Pipeline, told: Told) -> float:
    first, *_, last = shots(_video(pipeline, told).numpy(), told)
    return identity(first, last, told.scenes[0])
