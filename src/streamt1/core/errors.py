"""Every error that this package raises on purpose.

::

    StreamT1Error
    ├── ConfigError            an unknown key, or a value out of range (the message names the key and what is allowed)
    │   ├── UnknownNameError   an unknown preset, policy or key (the message names the nearest known one)
    │   └── DoesNotFitError    no placement of the models fits the memory (its table has the parts)
    ├── PromptError            an empty prompt, or a word that the model does not know
    ├── CheckpointError        a missing, truncated or mismatched weights file, or snapshot of memory
    ├── MissingExtraError      a feature whose optional packages are not installed (the message has the install line)
    ├── OutOfMemoryError       a device or the host has too little memory (the message says what would need less)
    ├── DeviceLostError        devices that took part in a run are gone, and no other can be had
    ├── NotFiniteError         a model or a decoder made NaN or infinite numbers for every candidate of a chunk
    ├── RewardError            every candidate of a chunk got a score that is not a finite number
    ├── TraceError             a trace that is missing, damaged, or of a run that has not finished
    ├── OutputError            a folder that cannot be written, or a full disk
    ├── MemoryIntegrityError   memory was released twice, or never, or is the next state's by now
    ├── Cancelled              whoever watches a run has ended it
    │   └── Stopped            somebody wants it to end in order
    └── RequestError           what a client asks of the server cannot be done
        ├── ForbiddenError     without the key, or on behalf of another site
        ├── UnknownVideoError  there is no such video
        ├── NotReadyError      the video is not made yet, or never will be
        ├── TooLargeError      more than the server reads
        ├── TooSlowError       a request that does not come to its end
        └── BusyError          the queue is full; the error says when to come back
            ├── QuotaError     a key has used what it may
            └── ThrottledError too many wrong keys came from an address
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

SHOWN = 80
"""Characters of a user's word that a message repeats."""


class StreamT1Warning(UserWarning):
    """Something is probably not as the user means it, but can be done."""


def warn(message: str) -> None:
    """Warns of something that is probably not meant; the command line shows it as one line."""
    warnings.warn(message, StreamT1Warning, stacklevel=3)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came from, what that came from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class StreamT1Error(Exception):
    """Base of all errors that are raised on purpose; its message is one clear sentence for the user."""


class ConfigError(StreamT1Error):
    """A configuration value is out of range, or values contradict each other."""


class UnknownNameError(ConfigError):
    """A name (preset, policy, key) that does not exist.

    Args:
        kind: what the name was meant to be, such as ``"preset"``.
        name: what the user gave.
        known: the names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known, name = sorted(known), name[:SHOWN]
        self.kind, self.name, self._made_of = kind, name, (kind, name, known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of


class DoesNotFitError(ConfigError):
    """No placement of a preset's models fits the memory that they may take.

    Attributes:
        table: lines for people, below the message: the parts of the placement that comes nearest.
    """

    def __init__(self, message: str, table: Iterable[str] = ()) -> None:
        self.table = tuple(table)
        super().__init__(message, self.table)

    def __str__(self) -> str:
        return str(self.args[0])


class PromptError(StreamT1Error):
    """A prompt that cannot be used."""


class CheckpointError(StreamT1Error):
    """A weights file, or a snapshot of memory, that is missing, damaged, or does not fit the model."""


class OutOfMemoryError(StreamT1Error):
    """A device, or the host, has less memory than the work needs."""


class DeviceLostError(StreamT1Error):
    """Devices that took part in a run are gone, and it cannot go on without them."""


class MissingExtraError(StreamT1Error):
    """Optional packages that a feature needs are not installed."""


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Around imports of optional packages: a package that is missing becomes a ``MissingExtraError``.

    Args:
        extra: the extra of this package that brings them.
        purpose: what they are for, as the beginning of a sentence.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{purpose} needs more packages ({error}): pip install 'streamt1[{extra}]'") from error


class NotFiniteError(StreamT1Error):
    """A model or a decoder made numbers that are not finite (NaN, infinite) for all candidates of a chunk."""


class RewardError(StreamT1Error):
    """No candidate of a chunk got a usable score."""


class TraceError(StreamT1Error):
    """A stored trace that cannot be read, or that does not tell a whole run."""


class OutputError(StreamT1Error):
    """The result cannot be written."""


class AddressError(StreamT1Error):
    """Nothing can listen at an address."""


class ConflictError(StreamT1Error):
    """What is asked for contradicts what was asked for before."""


class DiskFullError(OutputError):
    """The result cannot be written for want of room on the disk."""


class MemoryIntegrityError(StreamT1Error):
    """The reference counts of the memory pages are wrong: a page was freed twice, or never."""


class Cancelled(StreamT1Error):  # noqa: N818 (it is no mistake)
    """A run was ended by whoever watches it: raise it from ``watch``, and the search gives its memory back."""


class Stopped(Cancelled):
    """A run is to end in order: a video without an end gets its last chunk, any other can be gone on with."""


class RequestError(StreamT1Error):
    """What a client asks of the server cannot be done."""


class ForbiddenError(RequestError):
    """A request without the key that the server wants, or one that a page of another site sent."""


class UnknownVideoError(RequestError):
    """There is no video of that name."""


class NotReadyError(RequestError):
    """The video is not made yet, or never will be."""


class TooLargeError(RequestError):
    """A request is longer than the server reads."""


class TooSlowError(RequestError):
    """A request takes longer to come than the server waits."""


class BusyError(RequestError):
    """The queue is full.

    Args:
        retry_after: seconds after which a place is likely to be free.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.retry_after)


class QuotaError(BusyError):
    """A key has as many videos waiting, or made in a day, as it may."""


class ThrottledError(BusyError):
    """Too many wrong keys came from an address."""
