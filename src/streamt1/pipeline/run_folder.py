"""A run's folder, from the run's first moment to its last: what is killed loses the chunk that was open, and no more.

While a run goes on, the folder holds ``run.json`` (what was asked for, and how it stands), ``trace.jsonl`` and
``thumbnails.jsonl`` up to the last chunk boundary, ``partial.mp4`` as far as the video is final, and ``checkpoint/``.
At its end ``partial.mp4`` becomes ``video.mp4``, ``sheet.png`` is drawn, and the checkpoint goes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

from torch import Tensor

from streamt1.core.errors import Cancelled, CheckpointError, OutputError, StreamT1Error, warn
from streamt1.core.files import write_whole
from streamt1.core.jsonl import GrowingLines
from streamt1.core.locks import locked
from streamt1.core.protocols import Models
from streamt1.core.remote import Frames, applied
from streamt1.core.snapshot import Snapshot
from streamt1.core.words import nth
from streamt1.media.growing import GrowingVideo
from streamt1.media.thumbnails import middle_thumbnail
from streamt1.pipeline.asked import Asked, check_same_weights, circumstances
from streamt1.pipeline.checkpoints import Checkpoints, Stored, load_latents, run_of
from streamt1.pipeline.disk import Room
from streamt1.pipeline.encoding import Encoding
from streamt1.pipeline.given import Given, read_given, write_given
from streamt1.pipeline.packet import Packet, write_packet
from streamt1.pipeline.run import Run, write_latents, write_sheet
from streamt1.pipeline.run_files import (
    BEGUN,
    CHECKPOINT,
    GIVEN,
    PACKET,
    PARTIAL,
    SHEET,
    THUMBNAILS,
    TRACE,
    VIDEO,
    check_free,
    clear,
    stored_summary,
    tidy,
    write_summary,
)
from streamt1.pipeline.spill import OnDisk
from streamt1.pipeline.taking_up import before_now, check_unfinished, taken_up
from streamt1.search.archive import Archive, Nowhere
from streamt1.search.checkpoint import restore
from streamt1.search.choose import Result
from streamt1.search.packing import portable
from streamt1.search.start import announce, start
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher, Watchers
from streamt1.trace.events import Event, Warned
from streamt1.trace.store import Stamped, read_thumbnails, read_trace, thumbnail_record, trace_record

FLOAT = 4
"""Bytes of a number in a checkpoint."""


class RunFolder(Watcher):
    """Writes one run as it happens. Made by ``run_folder``.

    Attributes:
        path: the folder.
        resumed: chunks that were there already.
        seconds: spent on checkpoints by this process.
        packed: the packet that ``stopped`` has written, if it has.
    """

    def __init__(
        self,
        path: Path,
        summary: dict[str, Any],
        stored: Sequence[Stored],
        fps: int,
        run: str,
        packet: Packet | None = None,
        packs: bool = False,
        given: Given | None = None,
    ) -> None:
        self.path, self._summary, self._stored, self._given = path, summary, stored, given
        self._run, self._packet, self._packs = run, packet, packs
        self.packed: Path | None = None
        self.resumed, self.seconds = stored[-1].boundary.chunk if stored else 0, 0.0
        self._ends = {name: size for name, (size, _) in stored[-1].ends.items()} if stored else {}
        checkpoint = path / CHECKPOINT
        checkpoint.mkdir(exist_ok=True)
        self._trace = GrowingLines(path / TRACE, self._ends.get(TRACE, 0))
        self._thumbnails = GrowingLines(path / THUMBNAILS, self._ends.get(THUMBNAILS, 0))
        self._checkpoints = Checkpoints(checkpoint, run, stored)
        self._begin = 0.0
        self.video = GrowingVideo(path / PARTIAL, fps, stored[-1].boundary.settled if stored else 0)
        self._encoding = Encoding(self.video)
        self._archive: Archive | None = None
        self._room = Room(path)

    def begin(self, models: Models, asked: Asked, watcher: Watcher) -> SearchState:
        """The state to go on from: the first, or the one at the last boundary on disk, made again."""
        if self._packs:
            portable(models)
        self._config = asked.config
        if self._packet is not None:
            return self._unpacked(self._packet, models, asked, watcher)
        checkpoint = self.path / CHECKPOINT
        endless = asked.chunks is None
        self._archive = archive = Nowhere() if endless else OnDisk(checkpoint, models.draft is not None)
        seen = watcher if self._stored else Watchers((self, watcher))
        spent = self._stored[-1].boundary.cost.seconds["total"] if self._stored else 0.0
        self._begin = perf_counter() - spent
        given = None if self._given is None else self._given.latents
        state = start(models, asked.search, asked.scenes, None, asked.seed, seen, archive, given)
        self._look_for_room(models, asked, state)
        if not self._stored:
            return state
        boundaries = [stored.boundary for stored in self._stored]

        def load(chunk: int, candidate: int) -> tuple[Tensor, Tensor]:
            return load_latents(checkpoint, chunk, candidate)

        return restore(models, asked.search, state, boundaries, load, Watchers((_Again(self._encoding), watcher)))

    def _look_for_room(self, models: Models, asked: Asked, state: SearchState) -> None:
        latents = math.prod(models.backbone.chunk_shape) * FLOAT
        self._room.begin(state, 2 * latents * min(asked.search.top_k, asked.search.beam_size))

    def _unpacked(self, packet: Packet, models: Models, asked: Asked, watcher: Watcher) -> SearchState:
        """The state of a packet. Chunks that have settled are seen again; those of a video without an end are gone."""
        archive = packet.archived(self.path / CHECKPOINT)
        self._archive = archive
        state = packet.state(models, archive, asked.config)
        self._begin = perf_counter() - state.cost.seconds["total"]
        self._checkpoints.go_on(state)
        try:
            announce(models, asked.search, asked.scenes, asked.seed, watcher, len(state.given))
            if isinstance(archive, OnDisk):
                shown, seen = archive.shown(), Watchers((_Again(self._encoding), watcher))
                for chunk, (begin, end) in enumerate(pairwise(archive.until[: state.final + 1])):
                    seen.settled(chunk, shown[begin:end])
            elif self.video.chunks < state.final:
                raise CheckpointError(f"{self.video.path} has lost chunks: go on without the packet, which makes them")
            if packet.bits is not None:
                self.happened(
                    Warned(f"memory before chunk {nth(state.chunk)} was taken from a packet of {packet.bits} bits")
                )
            self._look_for_room(models, asked, state)
        except BaseException:
            state.release(models)
            raise
        return state

    def pack(
        self, models: Models, state: SearchState, out: Path | None = None, bits: int | None = None
    ) -> tuple[Path, Snapshot]:
        """Writes all that is known at a chunk boundary that is on the disk, by default into the checkpoint.

        Returns the file and what is in it. Raises what ``write_packet`` raises.
        """
        path = out or self.path / CHECKPOINT / PACKET
        archive = self._archive.told() if isinstance(self._archive, OnDisk) else None
        return path, write_packet(path, models, state, self._config, self._run, archive, bits)

    def stopped(self, models: Models, state: SearchState) -> None:
        """The run ends before its end. Leaves a packet, where that was asked for; warns where it cannot."""
        if not self._packs or not state.chunk:
            return
        try:
            self.packed, _ = self.pack(models, state)
        except StreamT1Error as error:
            warn(f"{self.path} can be gone on with, but no packet was written: {error}")

    def happened(self, event: Event) -> None:
        self._trace.append(trace_record(Stamped(round(perf_counter() - self._begin, 4), event)))

    def proposed(self, candidate: int, frames: Frames) -> None:
        self._thumbnails.append(thumbnail_record(candidate, applied(middle_thumbnail, frames)))

    def settled(self, chunk: int, frames: Tensor) -> None:
        self._encoding.settled(chunk, frames)

    def boundary(self, state: SearchState) -> None:
        """A chunk is decided: all that a later process needs to go on is on the disk when this returns."""
        begin = perf_counter()
        self.check_there()
        self._sync()
        grown = self._trace, self._thumbnails
        self._ends = {lines.path.name: lines.size for lines in grown}
        self._checkpoints.add(state, {lines.path.name: (lines.size, lines.crc32) for lines in grown})
        self._room.check(state)
        self.seconds += perf_counter() - begin
        self._encoding.confirm()

    def drop_open(self) -> None:
        """The chunk that was begun after the last boundary is not of the run: nothing of it stays."""
        self._encoding.drop()
        for lines in (self._trace, self._thumbnails):
            lines.cut(self._ends[lines.path.name])

    def finish(self, asked: Asked, result: Result) -> Run:
        """Writes what a finished run leaves. The checkpoint stays until the folder is let go of."""
        self.check_there()
        self._encoding.confirm()
        self._encoding.wait()
        self._sync()
        run = Run(asked.prompt, asked.seed, asked.config, result, OnDiskRecord(self.path), self.path, self._given)
        self.video.finish(self.path / VIDEO)
        write_sheet(self.path / SHEET, run)
        write_latents(self.path, run)
        self._summary = {**self._summary, **run.summary(self.video.frames), "state": "finished", "reason": None}
        write_summary(self.path, self._summary)
        return run

    def ended(self, state: str, reason: str | None) -> None:
        """Notes how a run ended that did not come to its end; its folder can be gone on with."""
        if self._summary["state"] == "finished":
            return  # what failed came after it
        self.check_there()
        self._summary = {**self._summary, "state": state, "reason": reason}
        write_summary(self.path, self._summary)

    def close(self) -> None:
        """Waits for the encoder and lets go of all files. What fails here has failed before, or is of no use."""
        self._encoding.close()
        files = [self._trace, self._thumbnails, self._checkpoints]
        for one in [*files, self._archive] if isinstance(self._archive, OnDisk) else files:
            try:
                one.close()
            except OutputError:
                continue

    def discard(self) -> None:
        """Deletes what only an unfinished run needs."""
        tidy(self.path)

    def _sync(self) -> None:
        for lines in (self._trace, self._thumbnails):
            lines.sync()

    def check_there(self) -> None:
        """Nothing is written to a folder that was deleted, so that nothing of it comes back. Raises ``OutputError``."""
        for file in (self._trace, self._thumbnails, self.video):
            if not file.there:
                raise OutputError(f"{file.path} was deleted or moved while a run wrote to it; generate the video again")


class _Again(Watcher):
    """Chunks of earlier boundaries that settle while a state is made again: they are final."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding

    def settled(self, chunk: int, frames: Tensor) -> None:
        self._encoding.settled(chunk, frames)
        self._encoding.confirm()


class OnDiskRecord:
    """Satisfies ``Recorded``: the trace and the pictures of a run, read from its folder when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def trace(self) -> tuple[Stamped, ...]:
        """Every event with its time."""
        return tuple(read_trace(self._folder / TRACE))

    @property
    def thumbnails(self) -> Mapping[int, bytes]:
        """A small picture of every candidate, by its id."""
        return read_thumbnails(self._folder / THUMBNAILS)


@contextmanager
def run_folder(
    path: Path,
    asked: Asked,
    fps: int,
    fresh: bool = False,
    again: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
    packet: Packet | None = None,
    packs: bool = False,
) -> Iterator[RunFolder]:
    """Opens a folder for one run, or takes up the run in it that has not finished; it is locked until the block ends.

    Args:
        fps: of the video.
        fresh: delete what an earlier run has left there, and begin anew.
        again: take up a run that has finished, too, as long as its checkpoint is there.
        options: further words of ``run.json``, for whoever started the run.
        packet: memory is taken from it, in place of a replay.
        packs: leave a packet where the run is stopped.

    Raises:
        OutputError: the folder cannot be written, is in use, or holds a run that has finished or asked for something
            else.
        ConfigError: the weights are not those that the unfinished run used.
        CheckpointError: the packet is of another run or chunk, or was made with something else.
    """
    with locked(path):
        if fresh:
            clear(path)
        summary = stored_summary(path)
        around, stored, run = circumstances(asked.config), list[Stored](), run_of(asked.record())
        if summary is None and not fresh:
            check_free(path)
        if summary is not None:
            check_unfinished(path, asked, summary, again)
            check_same_weights(summary, around["weights"])
            if asked.given is not None and (path / GIVEN).exists():
                asked = replace(asked, given=read_given(path, summary["given"]))
            stored, run = taken_up(path, run, None if packet is None else packet.chunk)
        if packet is not None:
            packet.check(asked.config, run, stored[-1].boundary.chunk if stored else 0)
        now = {"state": "running", "reason": None, **asked.record(), **options, **around}
        if summary is not None and stored:
            now |= before_now(path, summary, around)
        write_summary(path, now)
        if asked.given is not None and not (path / GIVEN).exists():
            write_given(path, asked.given)
        folder = RunFolder(path, now, stored, fps, run, packet, packs, asked.given)
        try:
            if not stored:
                write_whole(path / CHECKPOINT / BEGUN, json.dumps(asked.record()).encode(), durable=True)
            yield folder
        except BaseException as error:
            stopped = isinstance(error, (Cancelled, KeyboardInterrupt, GeneratorExit))
            _note(folder, "stopped" if stopped else "failed", str(error) or type(error).__name__)
            raise
        finally:
            folder.close()
        folder.discard()


def _note(folder: RunFolder, state: str, reason: str) -> None:
    """Says how it ended, where the folder can still be written: it may be what failed."""
    try:
        folder.ended(state, reason)
    except OutputError:
        return
