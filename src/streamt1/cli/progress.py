"""Progress of a search, read from its events: a live bar in a terminal, one line a chunk elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from streamt1.search.watcher import Watcher
from streamt1.trace.events import BeamJudged, CandidateScored, ChunkCommitted, ChunkStarted, Event, RunStarted, Warned


class ChunkLine:
    """Sums up one chunk: candidates, best scores, and the routes of its survivors."""

    def __init__(self, started: ChunkStarted) -> None:
        self.chunk, self.candidates = started.chunk, started.candidates
        self._shorts: list[float] = []
        self._longs: list[float] = []
        self._routes: list[str] = []

    def see(self, event: Event) -> None:
        if isinstance(event, CandidateScored):
            self._shorts += [] if event.short is None else [event.short]
            self._longs += [] if event.long is None else [event.long]
        elif isinstance(event, ChunkCommitted) and event.route:
            self._routes.append(event.route)

    def __str__(self) -> str:
        parts = [f"{self.candidates} candidate" + "s" * (self.candidates > 1)]
        if self._shorts and self._longs:
            parts.append(f"best short {max(self._shorts):+.2f}, long {max(self._longs):+.2f}")
        if self._routes:
            parts.append("routes " + ",".join(self._routes))
        return "  ".join(parts)


class ProgressView(Watcher):
    """Shows one run to which it is given as a watcher; use as a context manager.

    Args:
        title: what is being made.
        done: chunks that were there before.
    """

    def __init__(self, console: Console, title: str, done: int = 0) -> None:
        self._console, self._title, self._before = console, title, done
        self._line: ChunkLine | None = None
        self._chunks: int | None = None
        self._begin = time.perf_counter()
        self._task = TaskID(0)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("chunk {task.completed}/{task.total}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[line]}", markup=False),
                console=console,
            )

    def __enter__(self) -> ProgressView:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def happened(self, event: Event) -> None:
        """Takes the next event of the run."""
        if isinstance(event, RunStarted):
            self._chunks = event.chunks
            if self._bar:
                self._task = self._bar.add_task(self._title, total=event.chunks, completed=self._before, line="")
        elif isinstance(event, Warned):
            self._console.print(f"warning: {event.message}", style="yellow", markup=False, emoji=False, highlight=False)
        elif isinstance(event, (ChunkStarted, BeamJudged)):
            self._finish_chunk()
            self._line = ChunkLine(event) if isinstance(event, ChunkStarted) else None
        elif self._line:
            self._line.see(event)
            if self._bar:
                self._bar.update(self._task, line=str(self._line))

    def _finish_chunk(self) -> None:
        line = self._line
        if line is None:
            return
        done, spent = line.chunk + 1, time.perf_counter() - self._begin
        if self._bar:
            self._bar.update(self._task, completed=done, line=str(line))
        else:
            place, left = f"{done}", ""
            if self._chunks is not None:
                each = spent / max(1, done - self._before)
                place, left = f"{done}/{self._chunks}", f", {each * (self._chunks - done):.1f} s left"
            self._console.print(
                f"{self._title}: chunk {place}  {line}  {spent:.1f} s{left}",
                markup=False,
                emoji=False,
                highlight=False,
                soft_wrap=True,
            )
