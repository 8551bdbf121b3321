"""Whoever watches a search. Looking changes nothing, but a watcher can end the search: it raises ``Cancelled``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from streamt1.core.errors import Stopped
from streamt1.trace.events import Event

if TYPE_CHECKING:
    from torch import Tensor

    from streamt1.core.remote import Frames


class Watcher:
    """Sees one run, in the order in which it happens; the default sees nothing. Derive from it what you want to see.

    Progress, reports, servers and tests learn of a search through this class and through nothing else. Its methods are
    called from the thread that searches, and may raise ``Cancelled``.
    """

    def happened(self, event: Event) -> None:
        """Something was decided; see ``trace.events``."""

    def proposed(self, candidate: int, frames: Frames) -> None:
        """A candidate was made: its id and its chunk's frames ``[T, 3, H, W]``, in 0..1 or as bytes.

        The frames must be neither changed nor kept: the search goes on with them, or frees them. Where they are on
        another device (see ``core.remote``), an index brings some of them here.
        """

    def settled(self, chunk: int, frames: Tensor) -> None:
        """A chunk is final, whatever wins: its index and its frames ``[T, 3, H, W]``; chunks come in order.

        Frames are floats in 0..1 or uint8, as the decoder made them: ``core.frames.floats`` makes floats of both. They
        are the search's: read them, or change a copy.
        """


class Watchers(Watcher):
    """Several watchers as one; the first in the list sees everything first."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)

    def happened(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.happened(event)

    def proposed(self, candidate: int, frames: Frames) -> None:
        for watcher in self._watchers:
            watcher.proposed(candidate, frames)

    def settled(self, chunk: int, frames: Tensor) -> None:
        for watcher in self._watchers:
            watcher.settled(chunk, frames)


class ToTheEnd(Watcher):
    """Shows another watcher what comes after the last chunk, which it cannot stop any more; it still can cancel."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def happened(self, event: Event) -> None:
        with suppress(Stopped):
            self._watcher.happened(event)

    def settled(self, chunk: int, frames: Tensor) -> None:
        with suppress(Stopped):
            self._watcher.settled(chunk, frames)
