"""The rule for whatever a user gives: it works, or ends in one sentence; soon; nothing is left, and no code has run."""

from __future__ import annotations

import collections
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamt1.core.errors import StreamT1Error

MOST_SECONDS, MOST_MEMORY, LONGEST = 20.0, 2_000_000_000, 3000
"""Of one input: time, bytes, and characters of the sentence."""
COUNTS: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
"""By family; printed at the end."""
CANARY = Path("/tmp/streamt1-fuzz-canary")
"""A file that only code in an input would make."""


class Hang(BaseException):
    """An input took too long."""


def kept(family: str, call: Callable[[], Any], folder: Path | None = None, also: tuple[type, ...] = ()) -> None:
    """Calls, and checks the rule.

    Args:
        folder: what is in it beforehand, and nothing else, must be in it if the call fails.
        also: errors of libraries that the caller of this function's callee turns into answers.
    """
    counts = COUNTS[family]
    counts["inputs"] += 1
    before = _listed(folder)
    failed = None
    try:
        with _in_time():
            call()
    except StreamT1Error as error:
        failed = error
        counts["errors"] += 1
    except also:
        counts["errors"] += 1
    except Hang:
        counts["hangs"] += 1
        raise
    except Exception:
        counts["tracebacks"] += 1
        raise
    if CANARY.exists():
        CANARY.unlink()
        counts["executed"] += 1
        raise AssertionError("code of an input has run")
    left = _listed(folder) - before
    if (failed is not None and left) or any(".part" in name or name.endswith(".tmp") for name in left):
        counts["leftovers"] += 1
        raise AssertionError(f"left behind: {sorted(left)}")
    if failed is not None:
        check_sentence(str(failed))


def check_sentence(told: str) -> None:
    """One line, of words, and not too long."""
    assert told.strip(), "nothing is said"
    assert "\n" not in told, f"more than one line: {told!r}"
    assert len(told) <= LONGEST, f"{len(told)} characters: {told[:300]!r}"


def _listed(folder: Path | None) -> set[str]:
    return {str(path) for path in folder.rglob("*")} if folder else set()


@contextmanager
def _in_time() -> Iterator[None]:
    def over(*_: Any) -> None:
        raise Hang(f"longer than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    limit = sys.getrecursionlimit()
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        assert sys.getrecursionlimit() == limit
