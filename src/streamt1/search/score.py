"""Score: the rewards look at every candidate's chunk and window, and decide the route that its chunk carries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from streamt1.core.protocols import Models
from streamt1.core.types import RewardOutput, Route, Score
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.decode import batches
from streamt1.search.memory_sinking import decide_route
from streamt1.search.reward_pruning import fuse, fusion_weight
from streamt1.search.state import Candidate, SearchState, check_count
from streamt1.search.watcher import Watcher
from streamt1.trace.events import CandidateScored, Warned

Scored = tuple[float, dict[str, float]]
"""A reward's score and its named parts."""


def score(
    models: Models,
    config: SearchConfig,
    state: SearchState,
    candidates: list[Candidate],
    watcher: Watcher,
    cost: CostMeter,
) -> list[Candidate]:
    """Every candidate with its short, long and fused score and its chunk's route, where the policy scores chunks."""
    if not config.scores_chunks:
        return candidates
    weight = fusion_weight(state.chunk, state.chunks, config.fusion_cap)
    scored = []
    for candidate, (short, short_parts), (long, long_parts) in rewarded(models, config, state, candidates, cost):
        total = Score(short, long, fuse(short, long, weight), {**short_parts, **long_parts})
        route = route_of(config, candidate, total)
        scored.append(candidate.with_chunk(candidate.chunk.scored(total, route)))
        _tell(watcher, scored[-1], total, route)
    return scored


def fused_scores(
    models: Models, config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], cost: CostMeter
) -> list[float]:
    """What candidates, or previews of them, are ranked by."""
    weight = fusion_weight(state.chunk, state.chunks, config.fusion_cap)
    rewards = rewarded(models, config, state, candidates, cost)
    return [fuse(short, long, weight) for _, (short, _), (long, _) in rewards]


def route_of(config: SearchConfig, candidate: Candidate, total: Score) -> Route | None:
    """What will become of the candidate's chunk when it leaves the window, if it survives."""
    if not config.sinking:
        return None
    thresholds = config.short_threshold, config.long_threshold
    return decide_route(total, candidate.parent.scores, config.window, *thresholds, config.short_baseline)


def rewarded(
    models: Models, config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], cost: CostMeter
) -> list[tuple[Candidate, Scored, Scored]]:
    """Candidates with what the frame reward says of their chunk and the clip reward of their window."""
    found = []
    for rows in batches(len(candidates), config.candidate_batch):
        batch = candidates[rows]
        chunks = _spaced(_pixels(models, config, batch, 1, cost), config.frames_scored)
        shorts = _asked("short", frame_reward(models, state), chunks, cost)
        del chunks  # before the windows are joined
        longs = _asked("long", clip_reward(models, state), _pixels(models, config, batch, config.window, cost), cost)
        found += zip(batch, shorts, longs)
    return found


def frame_reward(models: Models, state: SearchState) -> Callable[[Tensor], RewardOutput]:
    """The frame reward under the state's prompt."""
    return lambda frames: models.frame_reward.score(frames, state.prompt)


def clip_reward(models: Models, state: SearchState) -> Callable[[Tensor], RewardOutput]:
    """The clip reward under the state's prompt, at the videos' frame rate."""
    return lambda clips: models.clip_reward.score(clips, models.scoring_decoder.fps, state.prompt)


def video_scores(models: Models, state: SearchState, cost: CostMeter) -> list[float]:
    """Clip reward of each beam's whole video."""
    videos = (torch.cat([chunk.frames for chunk in beam.chunks])[None] for beam in state.beams)
    return [_asked("final", clip_reward(models, state), video, cost)[0][0] for video in videos]


def finite(value: float) -> float | None:
    """The value, or None where it is not a finite number (JSON has no NaN)."""
    return value if math.isfinite(value) else None


def _pixels(
    models: Models, config: SearchConfig, candidates: Sequence[Candidate], chunks: int, cost: CostMeter
) -> Tensor:
    """Pixels ``[N, T, 3, H, W]`` of the last ``chunks`` chunks of each candidate."""
    window = [chunk for candidate in candidates for chunk in candidate.window(chunks)]
    clips = len(candidates), -1
    if config.decode == "streaming":
        return torch.cat([chunk.frames for chunk in window]).unflatten(0, clips)
    latents = torch.cat([chunk.latents for chunk in window]).unflatten(0, clips)
    with cost.spend("decode", latents_decoded=latents.shape[0] * latents.shape[1]):
        return models.decoder.decode([models.decoder.start()] * len(latents), latents)[0]


def _spaced(frames: Tensor, count: int | None) -> Tensor:
    """``count`` evenly spaced frames of ``[N, T, 3, H, W]``, the first and the last among them; None is all."""
    length = frames.shape[1]
    if count is None or count >= length:
        return frames
    if count == 1:
        return frames[:, length // 2 : length // 2 + 1]
    return frames[:, torch.linspace(0, length - 1, count).round().long()]


def _asked(name: str, reward: Callable[[Tensor], RewardOutput], frames: Tensor, cost: CostMeter) -> list[Scored]:
    with cost.spend("reward", reward_calls=len(frames)):
        output = reward(frames)
        scores = output.score.tolist()
        check_count(f"the {name} reward", len(scores), len(frames))
        parts = {f"{name}/{part}": values.tolist() for part, values in output.components.items()}
    return [(value, {part: parts[part][i] for part in parts}) for i, value in enumerate(scores)]


def _tell(watcher: Watcher, candidate: Candidate, total: Score, route: Route | None) -> None:
    chunk, name = candidate.chunk.index, route.value if route else None
    if not math.isfinite(total.fused):
        warning = f"chunk {chunk}: candidate {candidate.id} loses: its score is not a finite number"
        watcher.happened(Warned(warning))
    parts = {part: finite(value) for part, value in total.parts.items()}
    values = finite(total.short), finite(total.long), finite(total.fused)
    watcher.happened(CandidateScored(chunk, candidate.id, *values, parts, name))
