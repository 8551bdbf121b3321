"""Does a chunk late in a long video cost more than an early one, in time or in memory?"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from typing import Any

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.bench.subjects import PROMPT, subject
from streamt1.search.engine import Engine
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkStarted, Event

AROUND = 4
"""Chunks on either side that a chunk's seconds are the median of."""


def measure(name: str = "pocket", chunks: int = 201, early: int = 20, late: int = 200) -> dict[str, Any]:
    """One long search at 2x2: seconds and KV bytes around an early and a late chunk.

    Bytes kept on purpose (the video itself and its latents) are not KV; they grow with the video.
    """
    who = subject(name)
    config = dataclasses.replace(who.search, beam_size=2, top_k=2)
    backbone = who.models.backbone
    assert isinstance(backbone, WanBackbone)
    starts: list[float] = []
    pages: list[int] = []

    class Note(Watcher):
        def happened(self, event: Event) -> None:
            if isinstance(event, ChunkStarted):
                starts.append(time.perf_counter())
                pages.append(backbone.memory.pool.nbytes)

    Engine(who.models, config, Note()).run(PROMPT, chunks)
    spent = [after - before for before, after in itertools.pairwise(starts)]
    seconds = {at: statistics.median(spent[max(0, at - AROUND) : at + AROUND + 1]) for at in (5, early, late - AROUND)}
    return {
        "subject": who.name, "chunks": chunks, "seconds_early": seconds[early], "seconds_late": seconds[late - AROUND],
        "ratio": seconds[late - AROUND] / seconds[early], "kv_mb_early": pages[early] / 1e6,
        "kv_mb_late": pages[min(late, len(pages) - 1)] / 1e6, "kv_mb_most": max(pages) / 1e6,
    }  # fmt: skip
