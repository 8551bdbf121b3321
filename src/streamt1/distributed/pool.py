"""A pool: several devices, of which searches that run side by side take some each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streamt1.core.protocols import Models
from streamt1.distributed.fleet import Fleet
from streamt1.distributed.models import remote_models
from streamt1.distributed.scorers import Scorers
from streamt1.distributed.seats import Link, LinkLostError
from streamt1.distributed.worker import Request

ASKED = 0.2
"""Seconds after which whoever waits for devices is asked whether it still wants them."""


class DevicePool:
    """Every device has a process for each configuration; who takes a device has all of them.

    Args:
        count: of devices.
        another: makes a process in place of one that was lost.
    """

    def __init__(self, count: int, another: Callable[[Link], Link]) -> None:
        self._another, self._count = another, count
        self._links: dict[str, list[Link]] = {}
        self._apart: dict[str, int] = {}
        self._free, self._changed = set(range(count)), threading.Condition()

    def __len__(self) -> int:
        return self._count

    def add(self, name: str, links: Sequence[Link], apart: int = 0) -> None:
        """The processes of a configuration, one a device; the last ``apart`` hold its rewards and nothing else."""
        self._links[name], self._apart[name] = list(links), apart

    def least(self, name: str) -> int:
        """How many devices a search of a configuration takes at least: all, where some are for rewards alone."""
        return self._count if self._apart[name] else 1

    def take(self, count: int, wanted: Callable[[], bool] = lambda: True) -> Loan | None:
        """So many devices, once so many are free; None where they are not wanted any more. Give the loan back."""
        with self._changed:
            while len(self._free) < count:
                if not wanted():
                    return None
                self._changed.wait(ASKED)
            places = sorted(self._free)[:count]
            self._free.difference_update(places)
        return Loan(self, places)

    def give_back(self, places: Sequence[int]) -> None:
        """These devices are free again."""
        with self._changed:
            self._free.update(places)
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all processes."""
        for links in self._links.values():
            for link in links:
                link.close()

    def fleets(self, name: str, places: Sequence[int]) -> tuple[Fleet, Scorers | None]:
        """The processes of one configuration on some devices, which hold nothing yet, as those of one search."""
        links, first = self._links[name], self._count - self._apart[name]

        def renew(lost: Link) -> Link:
            place = links.index(lost)
            links[place] = self._another(lost)
            return links[place]

        fleet = Fleet([links[place] for place in places if place < first], renew)
        apart = [links[place] for place in places if place >= first]
        return fleet, Scorers(apart, renew) if apart else None

    def forget(self, names: Mapping[str, Models], places: Sequence[int]) -> None:
        """Has the processes of these configurations let go of all that a search has left there."""
        for name in names:
            for place in places:
                with suppress(LinkLostError):
                    self._links[name][place].submit(Request(anew=True))


class Loan:
    """Devices that one search has for itself.

    Attributes:
        places: their numbers.
    """

    def __init__(self, pool: DevicePool, places: Sequence[int]) -> None:
        self.places, self._pool = places, pool
        self._models: dict[str, Models] = {}

    def models(self, name: str) -> Models:
        """A configuration's, on these devices. Raises what a device raises, and ``DeviceLostError``."""
        if name not in self._models:
            self._models[name] = remote_models(*self._pool.fleets(name, self.places))
        return self._models[name]

    def give_back(self) -> None:
        """The search has ended, however it did."""
        try:
            self._pool.forget(self._models, self.places)
        finally:
            self._models = {}
            self._pool.give_back(self.places)
