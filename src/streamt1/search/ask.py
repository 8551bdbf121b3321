"""Ask: the rewards are asked about candidates. What they say is read later: rewards elsewhere may still be looking."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from streamt1.core.frames import shown_to
from streamt1.core.protocols import Models, SamplingClipReward
from streamt1.core.remote import Frames, arrived, gathered
from streamt1.search.candidate import Candidate, Scored
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.decode import batches, check_count
from streamt1.search.state import SearchState

NOTHING: Scored = (math.nan, {})
"""What rewards say of a candidate that they do not look at."""
Clip = Sequence[Frames]
"""Frames in parts ``[T, 3, H, W]`` that follow one another."""
Read = Callable[[], list[Scored]]
"""Waits for what a reward says of some clips, one each."""


def ask(
    models: Models, config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], cost: CostMeter
) -> list[Candidate]:
    """The same candidates, once both rewards have been asked: of the chunk, and of the window that ends with it.

    They are not asked about candidates whose own numbers are not finite.
    """
    whole = [candidate for candidate in candidates if candidate.fault is None]
    asked: dict[int, Candidate] = {}
    for rows in batches(models, config, len(whole)):
        batch = whole[rows]
        shorts = _short(models, config, state, _clips(models, config, batch, 1, cost), cost)
        window = min(config.window, state.in_scene + 1)
        longs = ask_long("long", models, state.prompt, _clips(models, config, batch, window, cost), cost)
        for row, one in enumerate(batch):
            asked[one.id] = replace(one, said=partial(_both, shorts, longs, row))
    return [asked.get(candidate.id, candidate) for candidate in candidates]


def ask_long(name: str, models: Models, prompt: str, clips: Sequence[Clip], cost: CostMeter) -> Read:
    """What the clip reward will say of clips of one length, under a prompt, at the videos' frame rate."""
    reward, fps, total = models.clip_reward, models.scoring_decoder.fps, _length(clips[0])

    def question() -> Any:
        if not isinstance(reward, SamplingClipReward):
            return reward.score(shown_to(reward, gathered(clips, None)), fps, prompt)
        seen = shown_to(reward, gathered(clips, reward.looks_at(total, fps)))
        return reward.score_seen(seen, total, fps, prompt)

    return _asked(name, question, len(clips), cost)


def _both(shorts: Read, longs: Read, row: int) -> tuple[Scored, Scored]:
    return shorts()[row], longs()[row]


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


def _short(models: Models, config: SearchConfig, state: SearchState, clips: Sequence[Clip], cost: CostMeter) -> Read:
    """What the frame reward will say of chunks under the state's prompt."""
    reward, index = models.frame_reward, _spaced(_length(clips[0]), config.frames_scored)
    frames = gathered(clips, index)
    return _asked("short", lambda: reward.score(shown_to(reward, frames), state.prompt), len(clips), cost)


def _length(clip: Clip) -> int:
    return sum(len(part) for part in clip)


def _spaced(length: int, count: int | None) -> list[int] | None:
    """``count`` evenly spaced ones of ``length`` frames, the first and the last among them; None is all."""
    if count is None or count >= length:
        return None
    if count == 1:
        return [length // 2]
    return torch.linspace(0, length - 1, count).round().long().tolist()


def _asked(name: str, question: Callable[[], Any], count: int, cost: CostMeter) -> Read:
    """Asks now; what comes back waits, once. Raises ``ValueError`` then, for other than ``count`` answers."""
    with cost.spend("reward", reward_calls=count):
        answer = question()

    @cache
    def read() -> list[Scored]:
        with cost.spend("reward"):
            output = arrived(answer)
            scores = output.score.tolist()
            check_count(f"the {name} reward", len(scores), count)
            parts = {f"{name}/{part}": values.tolist() for part, values in output.components.items()}
        return [(value, {part: parts[part][i] for part in parts}) for i, value in enumerate(scores)]

    return read
