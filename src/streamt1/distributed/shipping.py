"""Shipping: whether a device that lacks a beam's memory makes it from its recipe, or gets it from one that holds it.

Both give the same bits, as long as a snapshot is plain. Which is quicker is measured on the way: how long a context
pass takes on a device, and how long memory takes from one to another, with all that is done to it at both ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streamt1.core.errors import UnknownNameError
from streamt1.core.four_bits import BITS


class Offer(Protocol):
    """What shipping would spare a device, and what it would take."""

    def computing(self) -> float | None:
        """Seconds that the spared context passes would take; None before any device has run one."""
        ...

    def shipping(self) -> float | None:
        """Seconds on the way, probed where nothing went that way before; None where nothing can."""
        ...


class Rebuild(Protocol):
    """A way to decide."""

    @property
    def bits(self) -> int | None:
        """4 where keys and values travel in four bits, which changes results; None where they travel as they are."""
        ...

    def ships(self, offer: Offer) -> bool:
        """Whether memory is shipped. What is never asked of the offer is never measured."""
        ...


@dataclass(frozen=True)
class Compute:
    """Satisfies ``Rebuild``: nothing is shipped."""

    bits: int | None = None

    def ships(self, offer: Offer) -> bool:
        return False


@dataclass(frozen=True)
class Ship:
    """Satisfies ``Rebuild``: whatever another device holds is shipped."""

    bits: int | None = None

    def ships(self, offer: Offer) -> bool:
        return True


@dataclass(frozen=True)
class ByCost:
    """Satisfies ``Rebuild``: what is quicker, as far as has been measured. The default."""

    bits: int | None = None

    def ships(self, offer: Offer) -> bool:
        computing = offer.computing()
        if computing is None:
            return False
        shipping = offer.shipping()
        return shipping is not None and shipping < computing


MUCH = 16 * 2**20
"""Bytes of a probe: a tenth of a second at 1 Gbit/s. Less says little of a rate."""
_LEAST = 1e-9
REBUILDS: dict[str, Rebuild] = {
    "cost": ByCost(),
    "compute": Compute(),
    "ship": Ship(),
    "cost-4bit": ByCost(BITS),
    "ship-4bit": Ship(BITS),
}
"""By the names that users give."""
DEFAULT = "cost"


def rebuild_of(name: str | Rebuild) -> Rebuild:
    """The way of that name, or itself. Raises ``UnknownNameError``."""
    if not isinstance(name, str):
        return name
    if name not in REBUILDS:
        raise UnknownNameError("way to rebuild memory", name, REBUILDS)
    return REBUILDS[name]


@dataclass(frozen=True)
class Shipment:
    """Memory that went to a device.

    Attributes:
        sources, target: names of the devices.
        branches: how many.
        passes: context passes that this spared.
        nbytes: of the memory, as it is held.
        seconds: of work at both ends and on the way, without what either did before.
        bits: see ``Rebuild.bits``.
    """

    sources: tuple[str, ...]
    target: str
    branches: int
    passes: int
    nbytes: int
    seconds: float
    bits: int | None


@dataclass(frozen=True)
class Way:
    """From one device to another: seconds that anything takes, and bytes of memory a second beyond them.

    Bytes are those of memory as it is held, whatever form travels.
    """

    rate: float
    overhead: float = 0.0

    def seconds(self, nbytes: int) -> float:
        return self.overhead + nbytes / self.rate


@dataclass
class Measured:
    """What devices and the ways between them were found to take. Mutable; the last answer counts.

    Attributes:
        passes: device -> seconds of a context pass.
        ways: by source and target.
    """

    passes: dict[str, float] = field(default_factory=dict)
    ways: dict[tuple[str, str], Way] = field(default_factory=dict)

    def ran(self, device: str, count: int, seconds: float) -> None:
        """So many context passes were run."""
        if count:
            self.passes[device] = seconds / count

    def went(self, source: str, target: str, nbytes: int, seconds: float) -> None:
        """So much memory went from one device to another: much tells the rate, little what is there besides."""
        way = self.ways.get((source, target))
        if way is None or nbytes >= MUCH:
            overhead = 0.0 if way is None else min(way.overhead, seconds / 2)
            self.ways[source, target] = Way(nbytes / max(seconds - overhead, _LEAST), overhead)
        else:
            self.ways[source, target] = Way(way.rate, max(0.0, seconds - nbytes / way.rate))

    def seconds_a_pass(self, device: str) -> float | None:
        """On that device, or the mean of the others while it has run none; None while none has."""
        own = self.passes.get(device)
        if own is not None or not self.passes:
            return own
        return sum(self.passes.values()) / len(self.passes)

    def seconds_on_ways(self, target: str, sizes: Sequence[tuple[str, int]]) -> float:
        """One after another, from sources whose ways are known: names and bytes."""
        return sum(self.ways[source, target].seconds(nbytes) for source, nbytes in sizes)
