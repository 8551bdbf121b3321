"""Seats: the devices that do one kind of work, who is lost of them, and who comes in their place."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamt1.core.errors import DeviceLostError, warn
from streamt1.distributed.worker import KEPT, Reply, Request

ATTEMPTS = 4
"""Of one piece of work, before the search ends: whatever it is that ends devices, this work may be the cause."""
PATIENCE = 600
"""Seconds that a device may take to load its models, where a search waits for it."""


class LinkLostError(Exception):
    """The device is gone, or cannot be reached."""


class Link(Protocol):
    """A way to one device. Requests are answered in the order in which they are submitted.

    Attributes:
        name: for people.
    """

    name: str

    def submit(self, request: Request) -> Future[Reply]:
        """The reply to come, or ``LinkLostError``."""
        ...

    def close(self) -> None:
        """The device is not needed any more."""
        ...


Renew = Callable[[Link], Link | None]
"""Makes a device in place of one that was lost; its first reply says that it is ready. None where no other can be had.
"""


@dataclass(eq=False)
class Seat:
    """A device, and what it is believed to hold once it has done what it was asked.

    Attributes:
        held: keys of what it has made or was sent.
        known: names of latents that it remembers.
        freed: keys that it will be told to let go.
        asked: replies to come, first things first, each with what it is about.
        excused: how many of them, from the first, may tell of an error that is nobody's any more.
    """

    link: Link
    held: set[str] = field(default_factory=set)
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)
    freed: list[str] = field(default_factory=list)
    asked: deque[tuple[Future[Reply], list[Any]]] = field(default_factory=deque)
    excused: int = 0

    def knows(self, id: str) -> None:
        self.known[id] = None
        self.known.move_to_end(id)
        while len(self.known) > KEPT:
            self.known.popitem(last=False)


class Seats:
    """Devices of one kind.

    Args:
        links: one for each device; at least one.
        renew: see ``Renew``.

    Attributes:
        lost: how many devices were.
    """

    kind = "devices"
    """For people."""

    def __init__(self, links: Sequence[Link], renew: Renew) -> None:
        self._seats, self._renew, self.lost = [Seat(link) for link in links], renew, 0
        self._coming: list[tuple[Seat, Future[Reply]]] = []
        self._out: list[Link] = []
        self._lock = threading.RLock()
        self._why = ""

    def __len__(self) -> int:
        return len(self._seats)

    def refill(self) -> None:
        """A search begins: devices that could not be had in place of lost ones are asked for once more."""
        with self._lock:
            out, self._out = self._out, []
            for link in out:
                self._call(link)

    def close(self) -> None:
        """Ends all devices."""
        for seat in (*self._seats, *(seat for seat, _ in self._coming)):
            seat.link.close()
        self._seats, self._coming = [], []

    def given_up(self) -> DeviceLostError:
        """What ends a search whose work has ended too many devices, or was not done by any that is there."""
        if self.lost < ATTEMPTS:
            return DeviceLostError(
                f"{self.kind} did not do a piece of work, which was asked of them {ATTEMPTS} times:"
                f" {self._why or 'they lack what it needs'}; go on with the run"
            )
        return DeviceLostError(
            f"{self.kind} were lost {self.lost} times, {ATTEMPTS} times over the same work, which is given up;"
            " look at their logs (memory that ran out is the usual cause), then go on with the run"
        )

    def _lose(self, seat: Seat, error: LinkLostError) -> None:
        """A device is out; another is asked for."""
        self.lost, self._why = self.lost + 1, str(error)
        self._seats.remove(seat)
        seat.link.close()
        warn(f"{seat.link.name} is lost ({error}); what it did is done again on the others")
        self._call(seat.link)

    def _call(self, lost: Link) -> None:
        link = self._renew(lost)
        if link is not None:
            self._coming.append((Seat(link), link.submit(Request())))

    def _admit(self) -> None:
        """Lets in the devices that have become ready; waits for one where there is none.

        Raises ``DeviceLostError`` where none can be had.
        """
        if not self._seats and not self._coming:
            self.refill()
        if not self._seats and self._coming:
            wait([future for _, future in self._coming], PATIENCE, return_when=FIRST_COMPLETED)
        for seat, future in list(self._coming):
            if future.done():
                self._coming.remove((seat, future))
                try:
                    future.result()
                except LinkLostError as error:
                    self._why = str(error)
                    warn(f"{seat.link.name} cannot take part ({error})")
                    seat.link.close()
                    self._out.append(seat.link)
                else:
                    self._seats.append(seat)
        if not self._seats:
            raise DeviceLostError(
                f"all {self.kind} are lost, and no other can be had{f' ({self._why})' if self._why else ''}; go on with"
                " the run when there are any"
            )
