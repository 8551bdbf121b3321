"""Does memory grow with a video's length, what do checkpoints add to a chunk, and how long does going on take?"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from streamt1.bench.subjects import PROMPT
from streamt1.config.load import load_config
from streamt1.core.errors import Cancelled
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run_folder import run_folder
from streamt1.pipeline.stream import Stream
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkStarted, Event

FROM = 20
"""The chunk from which on memory should not grow: the reward's window is full, and so is the model's memory."""
SOME = 50
"""Chunks whose median is taken: a chunk that is encoded meanwhile takes 10 MB for a moment."""


def measure(policy: str = "stream_t1", chunks: int = 120) -> dict[str, Any]:
    """One long run of pocket into a folder, which is left before its last chunk and gone on with.

    Returns:
        ``resident_mb``: of this process at the start of every chunk; ``growth_mb`` from chunk 20 on to the last ones.
        ``checkpoint_share``: of the seconds of all chunks, those that writing checkpoints took.
        ``resume_seconds``: from opening the folder to the next new chunk, and ``resume_share`` of a searched chunk's
        seconds for each chunk that is made again.
    """
    pipeline, sizes = Pipeline(load_config("pocket", {"policy": policy})), _Sizes(chunks - 1)
    asked = pipeline.asked(PROMPT, chunks)
    with tempfile.TemporaryDirectory() as parent:
        searched, share = _searched(pipeline, asked, Path(parent) / "run", sizes)
        begin = time.perf_counter()
        with run_folder(Path(parent) / "run", asked, pipeline.models.decoder.fps) as folder:
            state = folder.begin(pipeline.models, asked, Watcher())
            resumed = time.perf_counter() - begin
            state.release(pipeline.models)
    growth = median(sizes.found[-SOME:]) - median(sizes.found[FROM : FROM + SOME])
    return {
        "policy": policy, "chunks": chunks, "seconds": searched, "checkpoint_share": share, "growth_mb": growth,
        "resume_seconds": resumed, "resume_share": resumed / searched, "resident_mb": sizes.found,
    }  # fmt: skip


def _searched(pipeline: Pipeline, asked: Asked, path: Path, sizes: _Sizes) -> tuple[float, float]:
    """Seconds of all chunks but the last, and the share of checkpoints in them."""
    begin = time.perf_counter()
    share = 0.0
    try:
        with run_folder(path, asked, pipeline.models.decoder.fps) as folder:
            try:
                Stream(pipeline.search(asked, folder, sizes)).finish()
            finally:
                share = folder.seconds / (time.perf_counter() - begin)
    except Cancelled:
        return time.perf_counter() - begin, share
    raise AssertionError("the run was to be left before its last chunk")


class _Sizes(Watcher):
    """Resident memory, MB, at the start of every chunk; ends the run at the start of one."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.found: list[float] = []

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkStarted):
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.found.append(round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2))
            if event.chunk == self.last:
                raise Cancelled("left before the last chunk")
