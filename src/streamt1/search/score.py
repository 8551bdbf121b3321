"""Score: the rewards look at every candidate's chunk and window, and decide the route that its chunk carries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from streamt1.core.frames import shown_to
from streamt1.core.protocols import Models, SamplingClipReward
from streamt1.core.remote import Frames, gathered
from streamt1.core.types import RewardOutput, Route, Score
from streamt1.search.candidate import Candidate
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.decode import batches, check_count
from streamt1.search.memory_sinking import decide_route
from streamt1.search.reward_pruning import fuse, fusion_weight
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import CandidateScored, Warned

Scored = tuple[float, dict[str, float]]
"""A reward's score and its named parts."""
NOTHING: Scored = (math.nan, {})
"""What rewards say of a candidate that they do not look at."""
Clip = Sequence[Frames]
"""Frames in parts ``[T, 3, H, W]`` that follow one another."""


def score_chunks(
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
    weight = fusion_weight(state.in_scene, state.scene_chunks, config.fusion_cap)
    scored = []
    for candidate, (short, short_parts), (long, long_parts) in rewarded(models, config, state, candidates, cost):
        total = Score(short, long, fuse(short, long, weight), {**short_parts, **long_parts})
        route = route_of(config, state, candidate, total)
        scored.append(candidate.with_chunk(candidate.chunk.scored(total, route)))
        tell_scores(watcher, scored[-1], total, route)
    return scored


def fused_scores(
    models: Models, config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], cost: CostMeter
) -> list[float]:
    """What candidates, or previews of them, are ranked by."""
    weight = fusion_weight(state.in_scene, state.scene_chunks, config.fusion_cap)
    rewards = rewarded(models, config, state, candidates, cost)
    return [fuse(short, long, weight) for _, (short, _), (long, _) in rewards]


def route_of(config: SearchConfig, state: SearchState, candidate: Candidate, total: Score) -> Route | None:
    """What will become of the candidate's chunk when it leaves the window, if it survives.

    It is compared with chunks of its own scene. The first of a later scene has none before it: it is kept as a sink
    where ``config.scene_sink`` says so, and dropped otherwise.
    """
    if not config.sinking:
        return None
    if state.chunk and not state.in_scene:
        return Route.APPEND if config.scene_sink else Route.DISCARD
    past = candidate.parent.scores[-state.in_scene :] if state.in_scene else []
    thresholds = config.short_threshold, config.long_threshold
    return decide_route(total, past, config.window, *thresholds, config.short_baseline)


def rewarded(
    models: Models, config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], cost: CostMeter
) -> list[tuple[Candidate, Scored, Scored]]:
    """Candidates with what the frame reward says of their chunk and the clip reward of their window.

    Both are NaN for candidates whose own numbers are not finite: no reward looks at them.
    """
    whole = [candidate for candidate in candidates if candidate.fault is None]
    found: dict[int, tuple[Scored, Scored]] = {}
    for rows in batches(models, config, len(whole)):
        batch = whole[rows]
        shorts = _short(models, config, state, _clips(models, config, batch, 1, cost), cost)
        window = min(config.window, state.in_scene + 1)
        longs = long_scores("long", models, state.prompt, _clips(models, config, batch, window, cost), cost)
        found |= {one.id: (short, long) for one, short, long in zip(batch, shorts, longs)}
    return [(one, *found.get(one.id, (NOTHING, NOTHING))) for one in candidates]


def finite(value: float) -> float | None:
    """The value, or None where it is not a finite number (JSON has no NaN)."""
    return value if math.isfinite(value) else None


def _clips(
    models: Models, config: SearchConfig, candidates: Sequence[Candidate], chunks: int, cost: CostMeter
) -> list[Clip]:
    """The last ``chunks`` chunks of each candidate as pixels, one part a chunk; nothing is copied."""
    windows = [candidate.window(chunks) for candidate in candidates]
    if config.decode == "streaming":
        return [[chunk.frames for chunk in window] for window in windows]
    latents = torch.stack([torch.cat([chunk.latents for chunk in window]) for window in windows])
    with cost.spend("decode", latents_decoded=latents.shape[0] * latents.shape[1]):
        frames, _ = models.decoder.decode([models.decoder.start()] * len(latents), latents)
    return [[clip] for clip in frames]


def _short(
    models: Models, config: SearchConfig, state: SearchState, clips: Sequence[Clip], cost: CostMeter
) -> list[Scored]:
    """What the frame reward says of chunks under the state's prompt."""
    reward, index = models.frame_reward, _spaced(_length(clips[0]), config.frames_scored)
    frames = gathered(clips, index)
    return _asked("short", lambda: reward.score(shown_to(reward, frames), state.prompt), len(clips), cost)


def long_scores(name: str, models: Models, prompt: str, clips: Sequence[Clip], cost: CostMeter) -> list[Scored]:
    """What the clip reward says of clips of one length, under a prompt, at the videos' frame rate."""
    reward, fps, total = models.clip_reward, models.scoring_decoder.fps, _length(clips[0])

    def ask() -> RewardOutput:
        if not isinstance(reward, SamplingClipReward):
            return reward.score(shown_to(reward, gathered(clips, None)), fps, prompt)
        seen = shown_to(reward, gathered(clips, reward.looks_at(total, fps)))
        return reward.score_seen(seen, total, fps, prompt)

    return _asked(name, ask, len(clips), cost)


def _length(clip: Clip) -> int:
    return sum(len(part) for part in clip)


def _spaced(length: int, count: int | None) -> list[int] | None:
    """``count`` evenly spaced ones of ``length`` frames, the first and the last among them; None is all."""
    if count is None or count >= length:
        return None
    if count == 1:
        return [length // 2]
    return torch.linspace(0, length - 1, count).round().long().tolist()


def _asked(name: str, ask: Callable[[], RewardOutput], count: int, cost: CostMeter) -> list[Scored]:
    with cost.spend("reward", reward_calls=count):
        output = ask()
        scores = output.score.tolist()
        check_count(f"the {name} reward", len(scores), count)
        parts = {f"{name}/{part}": values.tolist() for part, values in output.components.items()}
    return [(value, {part: parts[part][i] for part in parts}) for i, value in enumerate(scores)]


def tell_scores(watcher: Watcher, candidate: Candidate, total: Score, route: Route | None) -> None:
    """The event of a candidate's scores, and a warning where it loses by them."""
    chunk, name = candidate.chunk.index, route.value if route else None
    if candidate.fault is None and not math.isfinite(total.fused):
        parts = {"frame": total.short, "clip": total.long}
        who = " and ".join(f"the {name} reward" for name, value in parts.items() if not math.isfinite(value))
        watcher.happened(Warned(f"chunk {chunk}: candidate {candidate.id} loses: {who} gave no finite number"))
    parts = {part: finite(value) for part, value in total.parts.items()}
    values = finite(total.short), finite(total.long), finite(total.fused)
    watcher.happened(CandidateScored(chunk, candidate.id, *values, parts, name))
