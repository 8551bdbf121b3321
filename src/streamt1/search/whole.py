"""Whole scenes and whole videos, judged by the clip reward: how best of n chooses, and every search at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from streamt1.core.protocols import Models
from streamt1.core.types import Score
from streamt1.search.ask import NOTHING, ask_long
from streamt1.search.candidate import Candidate, Scored
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.decode import batches
from streamt1.search.score import score_chunks, tell_scores
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher


def judges_scene(config: SearchConfig, state: SearchState, candidates: Sequence[Candidate]) -> bool:
    """Whether one of these candidates, which end their scene, is to be gone on with."""
    return config.pruning == "scene" and state.ends_scene and len(candidates) > 1


def score(
    models: Models,
    config: SearchConfig,
    state: SearchState,
    candidates: list[Candidate],
    watcher: Watcher,
    cost: CostMeter,
) -> list[Candidate]:
    """Every candidate with the scores that the policy asks for: of its chunk, and at a scene's end of its scene."""
    scored = score_chunks(models, config, state, candidates, watcher, cost)
    if not judges_scene(config, state, scored):
        return scored
    return score_scenes(models, config, state, scored, watcher, cost)


def score_scenes(
    models: Models,
    config: SearchConfig,
    state: SearchState,
    candidates: Sequence[Candidate],
    watcher: Watcher,
    cost: CostMeter,
) -> list[Candidate]:
    """Every candidate with what the clip reward says of the whole scene that ends with it; its short score is NaN."""
    found: dict[int, Scored] = {}
    for rows in batches(models, config, len(candidates)):
        batch = [candidate for candidate in candidates[rows] if candidate.fault is None]
        clips = [[chunk.frames for chunk in candidate.window(state.in_scene + 1)] for candidate in batch]
        if batch:
            longs = ask_long("long", models, state.prompt, clips, cost)
            found |= {candidate.id: long for candidate, long in zip(batch, longs())}
    scored = []
    for candidate in candidates:
        long, parts = found.get(candidate.id, NOTHING)
        total = Score(math.nan, long, long, parts)
        scored.append(candidate.with_chunk(candidate.chunk.scored(total, candidate.chunk.route)))
        tell_scores(watcher, scored[-1], total, candidate.chunk.route)
    return scored


def video_scores(models: Models, state: SearchState, cost: CostMeter) -> list[float]:
    """Clip reward of each beam's whole video: the mean over its scenes, each under its own text."""
    past, scenes = state.archive.chunks(), state.timeline
    bounds = list(zip(scenes.scenes, pairwise([*scenes.starts, state.chunk])))
    found = []
    for beam in state.beams:
        video = [chunk.frames for chunk in (*past[: beam.first], *beam.chunks)]
        parts = [ask_long("final", models, scene.prompt, [video[begin:end]], cost) for scene, (begin, end) in bounds]
        found.append(sum(part()[0][0] for part in parts) / len(parts))
    return found
