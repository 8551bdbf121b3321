"""Do the bytes of keys and values equal the arithmetic of shared pages?"""

from __future__ import annotations

import dataclasses
from typing import Any

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.bench.subjects import PROMPT, subject
from streamt1.search.engine import Engine
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkStarted, Event


def measure(name: str = "pocket", width: int = 4, chunks: int = 16) -> dict[str, Any]:
    """A search at ``width`` x ``width``: the most KV bytes held between chunks, against copies for every candidate.

    ``copied``: every candidate has a memory of its own, as deep copies do; ``arithmetic``: every surviving beam has,
    which is the upper bound of sharing.
    """
    who = subject(name)
    config = dataclasses.replace(who.search, beam_size=width, top_k=width)
    backbone = who.models.backbone
    assert isinstance(backbone, WanBackbone)
    held: list[int] = []

    class Note(Watcher):
        def happened(self, event: Event) -> None:
            if isinstance(event, ChunkStarted):
                held.append(backbone.memory.pool.nbytes)

    Engine(who.models, config, Note()).run(PROMPT, chunks)
    sizes = backbone.model.config
    rows, columns = sizes.grid(*backbone.chunk_shape[2:])
    page = rows * columns * backbone.chunk_shape[0] * sizes.dim * 2 * 4 * sizes.num_layers
    window = backbone.memory.config.max_frames // backbone.memory.config.chunk
    return {
        "subject": who.name, "width": width, "held_mb": max(held) / 1e6,
        "arithmetic_mb": width * window * page / 1e6, "copied_mb": width * (width + 1) * window * page / 1e6,
        "ratio": max(held) / (width * (width + 1) * window * page),
    }  # fmt: skip
