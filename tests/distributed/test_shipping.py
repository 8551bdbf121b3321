"""Whether memory is shipped or made again."""

from __future__ import annotations

import pytest

from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.distributed.devices import devices, one_by_one
from streamt1.distributed.shipping import DEFAULT, MUCH, REBUILDS, ByCost, Compute, Measured, Ship, Way, rebuild_of


class Told:
    """An offer, and what was asked of it."""

    def __init__(self, computing: float | None, shipping: float | None) -> None:
        self._computing, self._shipping, self.asked = computing, shipping, list[str]()

    def computing(self) -> float | None:
        self.asked.append("computing")
        return self._computing

    def shipping(self) -> float | None:
        self.asked.append("shipping")
        return self._shipping


@pytest.mark.parametrize(
    ("computing", "shipping", "ships"), [(2.0, 1.0, True), (1.0, 2.0, False), (None, 1.0, False), (2.0, None, False)]
)
def test_what_is_quicker_is_done(computing: float | None, shipping: float | None, ships: bool) -> None:
    assert ByCost().ships(Told(computing, shipping)) is ships


def test_what_needs_not_be_known_is_not_measured() -> None:
    offers = [Told(None, 1.0), Told(1.0, 1.0), Told(1.0, 1.0)]
    assert not ByCost().ships(offers[0])
    assert Ship().ships(offers[1])
    assert not Compute().ships(offers[2])
    assert [offer.asked for offer in offers] == [["computing"], [], []]


def test_ways_have_names() -> None:
    assert rebuild_of(DEFAULT) == ByCost()
    assert {name for name, one in REBUILDS.items() if one.bits is not None} == {"cost-4bit", "ship-4bit"}
    with pytest.raises(UnknownNameError, match="did you mean 'ship'"):
        rebuild_of("shp")


@pytest.mark.parametrize("name", ["cost-4bit", "ship-4bit"])
def test_memory_in_few_bits_travels_as_it_is(name: str) -> None:
    """Four bits would be said to change the video, and change nothing."""
    config = load_config("pocket", {"device": "cpu", "memory.bits": 8})
    refused = pytest.raises(ConfigError, match=r"memory\.bits=8 travels in few bits as it is")
    with refused, devices(one_by_one(config), 2, rebuild=name):
        raise AssertionError("it began")


def test_a_device_that_has_run_nothing_is_taken_for_one_of_the_others() -> None:
    measured = Measured()
    assert measured.seconds_a_pass("a") is None
    measured.ran("a", 4, 2.0)
    measured.ran("b", 2, 3.0)
    measured.ran("b", 0, 0.0)
    assert [measured.seconds_a_pass(name) for name in "abc"] == [0.5, 1.5, 1.0]


def test_what_is_small_tells_what_every_shipment_takes() -> None:
    measured = Measured()
    measured.went("a", "c", MUCH, 2.0)
    measured.went("b", "c", MUCH, 4.0)
    assert measured.seconds_on_ways("c", [("a", MUCH), ("b", MUCH // 2)]) == 4.0
    measured.went("a", "c", 0, 0.5)
    assert measured.ways["a", "c"] == Way(MUCH / 2, 0.5)
    measured.went("a", "c", 4 * MUCH, 2.5)
    assert measured.ways["a", "c"] == Way(2 * MUCH, 0.5)
