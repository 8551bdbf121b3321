"""Jobs that the machine could not go on with: when each is tried again, and how often."""

from __future__ import annotations

import time
from dataclasses import dataclass

TRIES = 8
"""Times that a job is tried without getting one chunk further."""
PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds before the first and the last of them, and before a disk is looked at again that was full."""


@dataclass
class _Trouble:
    tries: int = 0
    furthest: int = -1
    until: float = 0.0


class Troubles:
    """Of the jobs of one server. Not for several threads at once."""

    def __init__(self) -> None:
        self._of: dict[str, _Trouble] = {}

    def met(self, name: str, furthest: int) -> float | None:
        """A job met some: the seconds until it is tried again; None where it was tried often enough.

        ``furthest``: the last chunk that was made of it, -1 for none. A chunk that is made again counts for nothing.
        """
        trouble = self._of.setdefault(name, _Trouble())
        if furthest > trouble.furthest:
            trouble.tries, trouble.furthest = 0, furthest
        trouble.tries += 1
        if trouble.tries >= TRIES:
            return None
        seconds = min(LONGEST_PAUSE, PAUSE * 2 ** (trouble.tries - 1))
        trouble.until = time.monotonic() + seconds
        return seconds

    def resting(self) -> dict[str, float]:
        """Seconds until jobs may be tried again, of those that may not be yet."""
        now = time.monotonic()
        return {name: trouble.until - now for name, trouble in self._of.items() if trouble.until > now}

    def forget(self, name: str) -> None:
        """It has ended."""
        self._of.pop(name, None)
