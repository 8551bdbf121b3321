"""Replay: a finished run, made again from what its folder says, and compared number by number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamt1.core.errors import OutputError, Stopped
from streamt1.pipeline.asked import Asked, changed, circumstances
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.recorder import Recorder
from streamt1.pipeline.run import digest
from streamt1.pipeline.run_files import SUMMARY, TRACE, is_finished, stored_summary
from streamt1.pipeline.stream import Stream
from streamt1.search.watcher import Watcher, Watchers
from streamt1.trace.events import ChunkStarted, Event, RunFinished, RunStarted
from streamt1.trace.store import read_trace


def finished_run(folder: Path, given: bool = True) -> tuple[Asked, dict[str, Any]]:
    """What a finished run asked for, and its ``run.json``. Raises ``OutputError``.

    ``given``: with what it began with, which is only needed to make it again.
    """
    summary = stored_summary(folder)
    if summary is None:
        raise OutputError(f"{folder} holds no run: there is no run.json")
    if not is_finished(summary):
        raise OutputError(f"the run in {folder} has not finished; go on with it first: streamt1 resume {folder}")
    return Asked.stored(summary, folder) if given else Asked.of(summary, folder / SUMMARY), summary


def replay(
    pipeline: Pipeline, folder: Path, asked: Asked, summary: Mapping[str, Any], watcher: Watcher = Watcher()
) -> list[str]:
    """Makes a run again; says in what it differs, a sentence each, and nothing where it is the same bit for bit.

    Times are not compared.

    Raises:
        TraceError: the stored trace is damaged.
        StreamT1Error: what the run raises.
    """
    stored = [stamped.event for stamped in read_trace(folder / TRACE)]
    recorder = Recorder()
    last = len(stored[-1].lineage) if stored and isinstance(stored[-1], RunFinished) else None
    watchers = Watchers((_Last(last), watcher)) if asked.chunks is None else watcher
    run = Stream(pipeline.search(asked, recorder, watchers)).finish()
    digests = summary.get("digests")
    found = list(_differences(stored, [stamped.event for stamped in run.trace]))
    for name, tensor in (("latents", run.result.latents), ("frames", run.pixels)):
        if isinstance(digests, dict) and digests.get(name) != digest(tensor):
            found.append(f"the {name} differ")
    if found:
        found += [f"but {told}" for told in changed(summary, circumstances(asked.config))]
    return found


def _differences(stored: list[Event], made: list[Event]) -> Iterator[str]:
    """The first event that differs, in words."""
    for place, (before, now) in enumerate(zip(stored, made), 1):
        if _timeless(before) != _timeless(now):
            yield f"event {place} of the trace was {before.record()} and is {now.record()}"
            return
    if len(stored) != len(made):
        yield f"the trace had {len(stored)} events and has {len(made)}"


def _timeless(event: Event) -> Event:
    if isinstance(event, RunStarted) and event.chunks is None:
        return dataclasses.replace(event, scenes=None)  # what was said while it ran could not be known
    if isinstance(event, RunFinished):
        counted = {name: count for name, count in event.cost.items() if count and name != "seconds"}
        return dataclasses.replace(event, cost=counted)  # older runs lack counts that would be 0
    return event


class _Last(Watcher):
    """Ends a video without an end before a chunk that was not made."""

    def __init__(self, chunks: int | None) -> None:
        self._chunks = chunks

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkStarted) and event.chunk == self._chunks:
            raise Stopped("all chunks are made again")
