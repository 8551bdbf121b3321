"""What new scenes cost: a video of six scenes against one of a single prompt, and a switch made for each candidate."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.bench.subjects import PROMPT, subject
from streamt1.core.timeline import Scene, Switch, Timeline
from streamt1.search.choose import Result
from streamt1.search.engine import Engine

OTHER = "a green star sliding on a teal plain background"
MODES: tuple[Switch, ...] = ("keep", "cut", "recache")


def measure(name: str = "random", scenes: int = 6, each: int = 3, beam_size: int = 4) -> dict[str, Any]:
    """Searches of as many chunks, with and without switches, each once after one to warm up.

    ``ratio``: seconds over those of one prompt; ``passes``: of all switches. ``for_each_candidate``: seconds of the
    switches of a boundary if each of its candidates made its own, over those of the beams, which they share.
    """
    who, chunks = subject(name), scenes * each
    config = dataclasses.replace(who.search, beam_size=beam_size, top_k=2)
    engine = Engine(who.models, config)

    def timed(timeline: Timeline) -> tuple[float, Result]:
        begin = time.perf_counter()
        result = engine.run(timeline)
        return time.perf_counter() - begin, result

    def told(mode: Switch) -> Timeline:
        return Timeline(tuple(Scene((PROMPT, OTHER)[place % 2], each, mode) for place in range(scenes)))

    timed(told("recache"))
    plain, _ = timed(Timeline.plain(PROMPT, chunks))
    modes = {}
    for mode in MODES:
        seconds, result = timed(told(mode))
        modes[mode] = {
            "ratio": seconds / plain,
            "passes": result.cost.switch_passes,
            "of_all_passes": result.cost.switch_passes / result.cost.model_passes,
        }
    shared = _switching(who.models.backbone, config.top_k)
    own = _switching(who.models.backbone, config.top_k * beam_size)
    return {"subject": who.name, "chunks": chunks, "scenes": scenes, "candidates": config.top_k * beam_size, **modes,
            "for_each_candidate": own / shared}  # fmt: skip


def _switching(backbone: Any, count: int, rounds: int = 5) -> float:
    """Seconds of so many re-caches of a full window, the least of some rounds."""
    assert isinstance(backbone, WanBackbone)
    branch = backbone.start(PROMPT)
    for _ in range(backbone.memory.config.window // backbone.chunk_shape[0] + 2):
        before, branch = branch, backbone.commit(branch, torch.zeros(backbone.chunk_shape), None)
        backbone.release(before)
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        done = [backbone.switch(branch, OTHER, "recache") for _ in range(count)]
        best = min(best, time.perf_counter() - begin)
        for one in done:
            backbone.release(one.branch)
    backbone.release(branch)
    return best
