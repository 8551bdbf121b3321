"""What one device does: it holds models, and what they have made, and answers one request after another."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from streamt1.core.protocols import Decoder, Models
from streamt1.distributed.recipes import FRAMES, STATE, Call, Commit, Parcel, Sent
from streamt1.distributed.snapshots import Carrier, InReplies, wait_for_device

KEPT = 64
"""Latents that a device remembers, the last it has seen: survivors are among the candidates that it made."""


class Job(Protocol):
    """Something to be answered, once all that it reads is there."""

    def do(self, worker: Worker) -> Any: ...


@dataclass(frozen=True)
class Request:
    """What a device is asked for, all at once.

    Attributes:
        free: keys of what nobody needs any more.
        parcels: latents that the device is not known to have, by name.
        makes: names and calls, first things first.
        keep: keys that must stay; what else was made on the way goes again.
        jobs: to be answered, in order.
        anew: whether another search begins here: all that is held goes, before anything else.
    """

    free: Sequence[str] = ()
    parcels: Mapping[str, Sent] = field(default_factory=dict)
    makes: Sequence[tuple[str, Call]] = ()
    keep: frozenset[str] = frozenset()
    jobs: Sequence[Job] = ()
    anew: bool = False


@dataclass(frozen=True)
class Reply:
    """What a device answers.

    Attributes:
        told: of what was made, by name.
        answers: one a job.
        known: names of latents that the jobs made.
        error: what went wrong, which ended the request; then ``held`` are the keys of what is there all the same, and
            ``known`` all latents that are.
        passes: context passes that were run, and the seconds they took.
    """

    told: Mapping[str, Any]
    answers: Sequence[Any] = ()
    known: Sequence[str] = ()
    error: Exception | None = None
    held: frozenset[str] = frozenset()
    passes: tuple[int, float] = (0, 0.0)


class MissingHereError(Exception):
    """Something was to be there and is not: the driver did not know of an error before."""


class Worker:
    """One set of models on one device.

    Args:
        models: what the device answers with.
        carrier: what brings memory to other devices.
    """

    def __init__(self, models: Models, carrier: Carrier | None = None) -> None:
        self.models, self.carrier = models, carrier or InReplies()
        self._held: dict[str, Any] = {}
        self._parcels: OrderedDict[str, Tensor] = OrderedDict()

    def answer(self, request: Request) -> Reply:
        """Does what is asked. Whatever fails is told in the reply, and leaves the worker as it says there."""
        if request.anew:
            self._forget(set())
            self._parcels.clear()
        for key in request.free:
            self._drop(key)
        for id, sent in request.parcels.items():
            self.remember(Parcel(id, sent.tensor))
        told, given = dict[str, Any](), set(self._parcels)
        before, passes = set(self._held), list[float]()
        try:
            for id, call in request.makes:
                begin = time.perf_counter()
                told[id] = call.make(self, id)
                if isinstance(call, Commit):
                    wait_for_device()
                    passes.append(time.perf_counter() - begin)
            answers = [job.do(self) for job in request.jobs]
        except Exception as error:
            self._forget(before | request.keep)
            return Reply(told, (), tuple(self._parcels), error, frozenset(self._held))
        made = [id for id in self._parcels if id not in given]
        self._forget(before | request.keep)
        return Reply(told, answers, made, passes=(len(passes), sum(passes)))

    def decoder(self, draft: bool) -> Decoder:
        """The draft decoder, or the one whose frames people see."""
        return self.models.scoring_decoder if draft else self.models.decoder

    def get(self, key: str) -> Any:
        """What was made under a key. Raises ``MissingHereError``."""
        try:
            return self._held[key]
        except KeyError as error:
            raise MissingHereError(key) from error

    def put(self, key: str, made: Any) -> None:
        """Keeps what was made; what is there already stays."""
        if key in self._held:
            self._release(key, made)
        else:
            self._held[key] = made

    def parcel(self, id: str) -> Tensor:
        """Latents by their name. Raises ``MissingHereError``."""
        try:
            self._parcels.move_to_end(id)
        except KeyError as error:
            raise MissingHereError(id) from error
        return self._parcels[id]

    def remember(self, parcel: Parcel) -> None:
        """Keeps latents for a while."""
        self._parcels[parcel.id] = parcel.tensor
        self._parcels.move_to_end(parcel.id)

    def _forget(self, kept: set[str]) -> None:
        for key in [key for key in self._held if key not in kept]:
            self._drop(key)
        while len(self._parcels) > KEPT:
            self._parcels.popitem(last=False)

    def _drop(self, key: str) -> None:
        if key in self._held:
            self._release(key, self._held.pop(key))

    def _release(self, key: str, made: Any) -> None:
        if not key.endswith((FRAMES, STATE)):
            self.models.backbone.release(made)
