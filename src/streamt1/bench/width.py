"""What does one more candidate cost, next to the first?"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from streamt1.bench.subjects import PROMPT, Subject, subject
from streamt1.core.seeds import generator
from streamt1.core.types import Route

WIDTHS = (1, 2, 4, 8, 16)
REPEATS = 5


def measure(name: str = "pocket", threads: int | None = None) -> dict[str, Any]:
    """Seconds per candidate of one parent with a full memory: proposal, decode and rewards, median of five in turns.

    ``threads`` None leaves torch as many as the subject asks for.
    """
    who = subject(name)
    if threads is not None:
        torch.set_num_threads(threads)
    branch = _full_branch(who)
    spent: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for _ in range(REPEATS + 1):
        for width in WIDTHS:
            spent[width].append(_seconds(who, branch, width) / width)
    seconds = {width: statistics.median(values[1:]) for width, values in spent.items()}
    return {
        "subject": who.name, "threads": torch.get_num_threads(), "seconds_per_candidate": seconds,
        "marginal": {w: seconds[w] / seconds[1] for w in WIDTHS}, "ratio": seconds[WIDTHS[-1]] / seconds[1],
    }  # fmt: skip


def _full_branch(who: Subject) -> Any:
    backbone = who.world.backbone
    branch = backbone.start(PROMPT)
    for chunk in range(6):
        own = generator(chunk)
        noise = torch.randn(backbone.chunk_shape, generator=own)[None]
        after = backbone.commit(branch, backbone.propose([branch], noise, [own])[0], Route.DISCARD)
        backbone.release(branch)
        branch = after
    return branch


def _seconds(who: Subject, branch: Any, width: int) -> float:
    world = who.world
    generators = [generator(100 + index) for index in range(width)]
    noise = torch.stack([torch.randn(world.backbone.chunk_shape, generator=own) for own in generators])
    begin = time.perf_counter()
    latents = world.backbone.propose([branch] * width, noise, generators)
    frames, _ = world.codec.decode([world.codec.start()] * width, latents)
    world.frame_reward.score(frames, PROMPT)
    world.clip_reward.score(frames, world.codec.fps, PROMPT)
    return time.perf_counter() - begin
