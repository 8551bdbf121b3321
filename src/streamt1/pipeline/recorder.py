"""Keeps what a run leaves behind besides its video: every event with its time, and a picture of every candidate."""

from __future__ import annotations

from time import perf_counter

from streamt1.core.protocols import Models
from streamt1.core.remote import Frames, applied
from streamt1.media.thumbnails import middle_thumbnail
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.run import Run
from streamt1.search.choose import Result
from streamt1.search.start import start
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher, Watchers
from streamt1.trace.events import Event
from streamt1.trace.store import Stamped


class Recorder(Watcher):
    """Watches one run, in memory. Satisfies ``Recorded``.

    Attributes:
        stamped: the events so far.
        thumbnails: a small WebP picture of every candidate, by its id; of the frames nothing else is kept.
    """

    def __init__(self) -> None:
        self._begin = perf_counter()
        self.stamped: list[Stamped] = []
        self.thumbnails: dict[int, bytes] = {}
        self._decided = 0, 0

    @property
    def trace(self) -> tuple[Stamped, ...]:
        """Every event with its time."""
        return tuple(self.stamped)

    def begin(self, models: Models, asked: Asked, watcher: Watcher) -> SearchState:
        """The state before the first chunk."""
        given = None if asked.given is None else asked.given.latents
        return start(models, asked.search, asked.scenes, None, asked.seed, Watchers((self, watcher)), given=given)

    def boundary(self, state: SearchState) -> None:
        """A chunk is decided."""
        self._decided = len(self.stamped), len(self.thumbnails)

    def stopped(self, models: Models, state: SearchState) -> None:
        """The run ends before its end."""

    def drop_open(self) -> None:
        """The chunk that was begun after the last boundary is not of the run: nothing of it stays."""
        events, pictures = self._decided
        del self.stamped[events:]
        for candidate in list(self.thumbnails)[pictures:]:
            del self.thumbnails[candidate]

    def finish(self, asked: Asked, result: Result) -> Run:
        """The run, with what was noted of it."""
        return Run(asked.prompt, asked.seed, asked.config, result, self, given=asked.given)

    def happened(self, event: Event) -> None:
        self.stamped.append(Stamped(round(perf_counter() - self._begin, 4), event))

    def proposed(self, candidate: int, frames: Frames) -> None:
        self.thumbnails[candidate] = applied(middle_thumbnail, frames)
