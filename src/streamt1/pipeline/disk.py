"""Whether a run's disk has room for what is still to come."""

from __future__ import annotations

from pathlib import Path

from streamt1.core.errors import DiskFullError, warn
from streamt1.core.files import bytes_in, free_bytes
from streamt1.search.state import SearchState

MARGIN = 2
"""Chunks that must fit: the next one, and what is written at the end of a run."""


class Room:
    """Measures what a run takes a chunk, and looks whether there is as much.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._warned = folder, False
        self._each: int | None = None

    def begin(self, state: SearchState, least: int) -> None:
        """Before the first chunk; ``least``: bytes that each will surely take. See ``check``."""
        self._check(state, least)

    def check(self, state: SearchState) -> None:
        """At a chunk boundary. Warns, once, where the rest of the video will not fit.

        Raises:
            DiskFullError: not even the next chunk fits; all that is made is on the disk, and can be gone on with.
        """
        if self._each is None:  # the first chunks show what one takes
            self._each = bytes_in(self._folder) // state.chunk
        self._check(state, self._each)

    def _check(self, state: SearchState, each: int) -> None:
        free = free_bytes(self._folder)
        if free < MARGIN * each:
            raise DiskFullError(
                f"the disk of {self._folder} is full: {_mb(free)} are free, and a chunk takes {_mb(each)}"
            )
        left = 0 if state.chunks is None else state.chunks - state.chunk
        if free < left * each and not self._warned:
            self._warned = True
            warn(f"{self._folder} will need about {_mb(left * each)} more, and {_mb(free)} are free")


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} KB"
