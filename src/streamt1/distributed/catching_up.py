"""Catching up: a device that lacks beams' memory gets it from those that hold it, where that is the way to rebuild it.

It is looked for at every question, and mostly there is nothing to do: at a chunk boundary no device holds what all are
about to write. Whatever is lost on the way is made from its recipe, as it would have been without shipping.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamt1.core.errors import warn
from streamt1.distributed.recipes import Recipe, missing
from streamt1.distributed.shipping import MUCH, Compute, Measured, Rebuild, Shipment
from streamt1.distributed.snapshots import Receive, Send, Weigh

if TYPE_CHECKING:
    from streamt1.distributed.fleet import Fleet
    from streamt1.distributed.seats import Seat


class CatchingUp:
    """Ships memory within a fleet.

    Args:
        rebuild: decides.

    Attributes:
        measured: what computing and shipping were found to take.
        shipments: all that arrived, first to last.
    """

    def __init__(self, fleet: Fleet, rebuild: Rebuild) -> None:
        self._fleet, self._rebuild = fleet, rebuild
        self.measured, self.shipments = Measured(), list[Shipment]()

    def ship(self) -> None:
        """Brings to every device what it lacks and another holds, where that is decided. Waits until it is there.

        Raises what a device raises.
        """
        if isinstance(self._rebuild, Compute):
            return
        for seat in self._fleet.seats:
            lacking = [recipe for recipe in self._fleet.branches if recipe.id not in seat.held]
            if lacking and seat in self._fleet.seats:
                offer = _Offer(self._fleet, self.measured, self._rebuild, seat, *self._found(seat, lacking))
                if offer.passes and self._rebuild.ships(offer):
                    self._bring(offer)

    def _found(self, seat: Seat, lacking: Sequence[Recipe]) -> tuple[list[tuple[Seat, Recipe]], int]:
        """Who holds what a device lacks, or what lives on and is nearest to it; and the passes that this spares."""
        others, live = [one for one in self._fleet.seats if one is not seat], {one.id for one in self._fleet.branches}
        found: dict[str, tuple[Seat, Recipe]] = {}
        for wanted in lacking:
            one: Recipe | None = wanted
            while one is not None and one.id not in seat.held:
                holder = next((other for other in others if one.id in other.held), None)
                if holder is not None and one.id in live:
                    found.setdefault(one.id, (holder, one))
                    break
                one = one.before
        alone = _passes(missing(lacking, _key, seat.held))
        return list(found.values()), alone - _passes(missing(lacking, _key, seat.held | set(found)))

    def _bring(self, offer: _Offer) -> None:
        names, whole, seconds = set[str](), 0, 0.0
        for source, recipe in offer.found:
            nbytes = offer.weight(source, recipe)
            sent = self._fleet.ask(source, Send(recipe.id, self._rebuild.bits)) if nbytes else None
            if not nbytes or sent is None or offer.seat not in self._fleet.seats:
                return
            arrived = self._fleet.ask(offer.seat, Receive(recipe.id, sent[0]), recipe.id)
            if arrived is None:
                return
            offer.seat.held.add(recipe.id)
            took = sent[1] + arrived
            self.measured.went(source.link.name, offer.seat.link.name, nbytes, took)
            names, whole, seconds = names | {source.link.name}, whole + nbytes, seconds + took
        told = tuple(sorted(names)), offer.seat.link.name, len(offer.found)
        self.shipments.append(Shipment(*told, offer.passes, whole, seconds, self._rebuild.bits))
        if self._rebuild.bits is not None:
            warn(
                f"memory went to {offer.seat.link.name} in {self._rebuild.bits} bits: the video may differ from one for"
                " which none did"
            )


@dataclass(eq=False)
class _Offer:
    """Satisfies ``Offer``.

    Attributes:
        seat: the device that lacks something.
        found: who holds it, or what is nearest to it.
        passes: context passes that shipping spares.
    """

    fleet: Fleet
    measured: Measured
    rebuild: Rebuild
    seat: Seat
    found: list[tuple[Seat, Recipe]]
    passes: int
    weights: dict[str, int | None] = field(default_factory=dict)

    def computing(self) -> float | None:
        each = self.measured.seconds_a_pass(self.seat.link.name)
        return None if each is None else each * self.passes

    def shipping(self) -> float | None:
        target, sizes = self.seat.link.name, list[tuple[str, int]]()
        for source, recipe in self.found:
            nbytes = self.weight(source, recipe)
            if not nbytes or not self._way(source):
                return None
            sizes.append((source.link.name, nbytes))
        return self.measured.seconds_on_ways(target, sizes)

    def weight(self, source: Seat, recipe: Recipe) -> int | None:
        """Bytes; None where it cannot be sent, or a device is lost."""
        if not {source, self.seat} <= set(self.fleet.seats):
            return None
        if recipe.id not in self.weights:
            self.weights[recipe.id] = self.fleet.ask(source, Weigh(recipe.id))
        return self.weights[recipe.id]

    def _way(self, source: Seat) -> bool:
        """Whether it is known how fast memory goes this way, from now on at the latest."""
        names = source.link.name, self.seat.link.name
        if names in self.measured.ways:
            return True
        sent = self.fleet.ask(source, Send(None, self.rebuild.bits))
        arrived = None if sent is None else self.fleet.ask(self.seat, Receive(None, sent[0]))
        if sent is None or arrived is None:
            return False
        self.measured.went(*names, MUCH, sent[1] + arrived)
        return True


def _key(recipe: Recipe) -> Sequence[str]:
    return recipe.keys[-1:]


def _passes(recipes: Iterable[Recipe]) -> int:
    return sum(recipe.passes for recipe in recipes)
