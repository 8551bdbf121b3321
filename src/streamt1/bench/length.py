"""Does memory grow with the length of a video, and what does a checkpoint add to a chunk?"""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path
from typing import Any

from streamt1.bench.subjects import PROMPT
from streamt1.config.load import load_config
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run_folder import run_folder
from streamt1.pipeline.stream import Stream
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkStarted, Event

FROM = 20
"""The chunk from which on memory should not grow: the reward's window is full, and so is the model's memory."""


def measure(policy: str = "stream_t1", chunks: int = 120) -> dict[str, Any]:
    """One long run of pocket into a folder.

    Returns:
        ``resident_mb``: of this process at the start of every chunk; ``growth_mb`` between chunk 20 and the last.
        ``checkpoint_share``: of the seconds of all chunks, those that writing checkpoints took.
    """
    pipeline, sizes = Pipeline(load_config("pocket", {"policy": policy})), _Sizes()
    asked = pipeline.asked(PROMPT, chunks)
    with (
        tempfile.TemporaryDirectory() as parent,
        run_folder(Path(parent) / "run", asked, pipeline.models.decoder.fps) as folder,
    ):
        run = Stream(pipeline.search(asked, folder, sizes)).finish()
        seconds = run.result.cost.seconds["total"]
        share = folder.seconds / seconds
    return {
        "policy": policy, "chunks": chunks, "seconds": seconds, "checkpoint_share": share,
        "growth_mb": sizes.found[-1] - sizes.found[min(FROM, chunks - 1)], "resident_mb": sizes.found,
    }  # fmt: skip


class _Sizes(Watcher):
    """Resident memory, MB, at the start of every chunk."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkStarted):
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.found.append(round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2))
