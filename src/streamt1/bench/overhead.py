"""How much longer does a search take than the model calls that it needs, timed apart?"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch

from streamt1.bench.subjects import PROMPT, Subject, subject
from streamt1.core.protocols import draws_after, steps_after
from streamt1.core.seeds import generator
from streamt1.core.types import Route
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from streamt1.search.width import shares

REPEATS = 3


def measure(name: str = "pocket", width: int = 2, chunks: int = 8) -> dict[str, Any]:
    """Wall time of a search over the sum of its pure model calls, at ``width`` x ``width`` candidates.

    Both are the best of three, taken in turns. The pure calls are those that the search makes: per chunk one proposal
    of all candidates over ``width`` parents' memories, as full as at that chunk, one decode of their own chunks, the
    two rewards on all of them, one context pass for each survivor.
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
    engine = Engine(who.models, config)
    begin = time.perf_counter()
    engine.run(PROMPT, chunks)
    return time.perf_counter() - begin


def _call_seconds(who: Subject, config: SearchConfig, chunks: int) -> dict[str, float]:
    """The same calls on tensors made beforehand, without a search around them."""
    models, spent = who.models, {"text": 0.0, "denoise": 0.0, "decode": 0.0, "rewards": 0.0, "commit": 0.0}

    def timed(part: str, call: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = call()
        spent[part] += time.perf_counter() - begin
        return result

    backbone, decoder, width = models.backbone, models.decoder, config.beam_size * config.top_k
    branches, states, past = [timed("text", lambda: backbone.start(PROMPT))], [decoder.start()], []
    for chunk in range(chunks):
        parents = [rank for rank, share in enumerate(shares(width, len(branches))) for _ in range(share)]
        over, after = [branches[rank] for rank in parents], [states[rank] for rank in parents]
        generators = [generator(chunk * 100 + i) for i in range(width)]
        draws = (1 + draws_after(backbone, over[0]), *backbone.chunk_shape)
        noise = torch.stack([torch.randn(draws, generator=own) for own in generators])
        x, fresh, steps = noise[:, 0], noise[:, 1:], range(steps_after(backbone, over[0]))
        latents, _ = timed("denoise", lambda b=over, x=x, f=fresh, s=steps: backbone.denoise(b, x, f, s))
        frames, states = timed("decode", lambda s=after, x=latents: decoder.decode(s, x))
        window = [part.expand(len(frames), -1, -1, -1, -1) for part in past[-(config.window - 1) :]]
        clips = torch.cat([*window, frames], dim=1)
        timed("rewards", lambda f=frames: models.frame_reward.score(f, PROMPT))
        timed("rewards", lambda c=clips: models.clip_reward.score(c, decoder.fps, PROMPT))
        past.append(frames[:1])
        if chunk == chunks - 1:
            break
        kept = zip(over[: config.top_k], latents)
        grown = [timed("commit", lambda b=b, x=x: backbone.commit(b, x, Route.EMA)) for b, x in kept]
        for branch in branches:
            backbone.release(branch)
        branches = grown
    video = torch.cat(past, dim=1)
    for _ in range(config.top_k):
        timed("rewards", lambda: models.clip_reward.score(video, decoder.fps, PROMPT))
    for branch in branches:
        backbone.release(branch)
    return spent
