"""What does one more candidate cost, next to the first?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamt1.bench.subjects import PROMPT, Subject, subject
from streamt1.core.protocols import Backbone, Branch, draws_after, steps_after
from streamt1.core.seeds import generator
from streamt1.core.types import Route

WIDTHS = (1, 2, 4, 8, 16)
REPEATS = 5


@dataclass(frozen=True)
class _Past:
    """A parent with a full memory, the decoder's state after it, and the frames ``[1, T, 3, H, W]`` of its window."""

    branch: Any
    state: Any
    frames: Tensor


def measure(name: str = "pocket", threads: int | None = None) -> dict[str, Any]:
    """Seconds per candidate of one parent with a full memory: what the search does for them, from noise to rewards.

    Medians of five, taken in turns. ``threads`` None leaves torch as many as the subject asks for.
    """
    who = subject(name)
    if threads is not None:
        torch.set_num_threads(threads)
    past = _past(who)
    spent: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for _ in range(REPEATS + 1):
        for width in WIDTHS:
            spent[width].append(_seconds(who, past, width) / width)
    seconds = {width: statistics.median(values[1:]) for width, values in spent.items()}
    return {
        "subject": who.name, "threads": torch.get_num_threads(), "seconds_per_candidate": seconds,
        "marginal": {w: seconds[w] / seconds[1] for w in WIDTHS}, "ratio": seconds[WIDTHS[-1]] / seconds[1],
    }  # fmt: skip


def _past(who: Subject) -> _Past:
    backbone, decoder = who.models.backbone, who.models.decoder
    branch, state, frames = backbone.start(PROMPT), decoder.start(), list[Tensor]()
    for chunk in range(max(6, who.search.window - 1)):
        latents = denoised(backbone, [branch], [generator(chunk)])
        decoded, [state] = decoder.decode([state], latents)
        frames.append(decoded)
        after = backbone.commit(branch, latents[0], Route.DISCARD)
        backbone.release(branch)
        branch = after
    return _Past(branch, state, torch.cat(frames[-(who.search.window - 1) :], dim=1))


def _seconds(who: Subject, past: _Past, width: int) -> float:
    models = who.models
    generators = [generator(100 + index) for index in range(width)]
    begin = time.perf_counter()
    latents = denoised(models.backbone, [past.branch] * width, generators)
    frames, _ = models.decoder.decode([past.state] * width, latents)
    models.frame_reward.score(frames, PROMPT)
    clips = torch.cat([past.frames.expand(width, -1, -1, -1, -1), frames], dim=1)
    models.clip_reward.score(clips, models.decoder.fps, PROMPT)
    return time.perf_counter() - begin


def denoised(backbone: Backbone, parents: Sequence[Branch], generators: Sequence[torch.Generator]) -> Tensor:
    """Clean latents ``[N, F, C, H, W]`` of candidates, from noise that their generators draw."""
    shape = (1 + draws_after(backbone, parents[0]), *backbone.chunk_shape)
    noise = [torch.randn(shape, generator=own) for own in generators]
    drawn = torch.stack(noise)
    return backbone.denoise(parents, drawn[:, 0], drawn[:, 1:], range(steps_after(backbone, parents[0])))[0]
