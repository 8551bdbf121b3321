"""How much longer does a search take than the model calls that it needs, timed apart?"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch

from streamt1.bench.subjects import PROMPT, Subject, subject
from streamt1.core.seeds import generator
from streamt1.core.types import Route
from streamt1.search.engine import Engine
from streamt1.search.policies import SearchConfig

REPEATS = 3


def measure(name: str = "pocket", width: int = 2, chunks: int = 8) -> dict[str, Any]:
    """Wall time of a search over the sum of its pure model calls, at ``width`` x ``width`` candidates.

    Both are the best of three, taken in turns. The pure calls are those that the search makes: per chunk and parent
    one proposal of ``width`` candidates over a memory as full as at that chunk, one decode of their own chunk, the two
    rewards on all candidates, one context pass for each survivor.
    """
    who = subject(name)
    config = dataclasses.replace(who.search, beam_size=width, top_k=width)
    runs, calls = [], []
    for turn in range(REPEATS + 1):
        search, parts = _search_seconds(who, config, chunks), _call_seconds(who, config, chunks)
        if turn:  # the first warms up
            runs.append(search)
            calls.append(parts)
    best = min(calls, key=lambda parts: sum(parts.values()))
    pure = sum(best.values())
    return {
        "subject": who.name, "width": width, "chunks": chunks, "search_seconds": min(runs), "call_seconds": pure,
        "ratio": min(runs) / pure, "parts": best,
    }  # fmt: skip


def _search_seconds(who: Subject, config: SearchConfig, chunks: int) -> float:
    engine = Engine.over(who.world, config)
    begin = time.perf_counter()
    engine.run(PROMPT, chunks)
    return time.perf_counter() - begin


def _call_seconds(who: Subject, config: SearchConfig, chunks: int) -> dict[str, float]:
    """The same calls on tensors made beforehand, without a search around them."""
    world, spent = who.world, {"text": 0.0, "propose": 0.0, "decode": 0.0, "rewards": 0.0, "commit": 0.0}

    def timed(part: str, call: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = call()
        spent[part] += time.perf_counter() - begin
        return result

    branch = timed("text", lambda: world.backbone.start(PROMPT))
    state, past = world.codec.start(), []
    for chunk in range(chunks):
        parents = config.top_k if chunk else 1
        each = config.beam_size * config.top_k // parents
        made = []
        for parent in range(parents):
            generators = [generator(chunk * 100 + parent * 10 + i) for i in range(each)]
            noise = torch.stack([torch.randn(world.backbone.chunk_shape, generator=g) for g in generators])
            latents = timed("propose", lambda b=branch, n=noise, g=generators: world.backbone.propose(b, n, g))
            made.append((latents, *timed("decode", lambda s=state, x=latents: world.codec.decode(s, x))))
        frames = torch.cat([part[1] for part in made])
        window = [part.expand(len(frames), -1, -1, -1, -1) for part in past[-(config.window - 1) :]]
        clips = torch.cat([*window, frames], dim=1)
        timed("rewards", lambda f=frames: world.frame_reward.score(f, PROMPT))
        timed("rewards", lambda c=clips: world.clip_reward.score(c, world.codec.fps, PROMPT))
        branch, state = _go_on(who, timed, branch, made[0], config.top_k, chunk == chunks - 1)
        past.append(frames[:1])
    video = torch.cat(past, dim=1)
    for _ in range(config.top_k):
        timed("rewards", lambda: world.clip_reward.score(video, world.codec.fps, PROMPT))
    world.backbone.release(branch)
    return spent


def _go_on(who: Subject, timed: Callable, branch: Any, made: Any, survivors: int, last: bool) -> tuple[Any, Any]:
    """Commits as often as there are survivors, keeps the first."""
    latents, _, states = made
    backbone = who.world.backbone
    if last:
        return branch, states[0]
    kept = [timed("commit", lambda: backbone.commit(branch, latents[0], Route.EMA)) for _ in range(survivors)]
    for other in (branch, *kept[1:]):
        backbone.release(other)
    return kept[0], states[0]
