"""A device that comes late gets memory from the others, or makes it again: the search is the same."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import pytest
import torch

from streamt1 import load_config
from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.backbones.pocket.backbone import PocketBackbone
from streamt1.core.errors import CheckpointError, OutOfMemoryError
from streamt1.core.protocols import Models
from streamt1.distributed import Fleet, remote_models
from streamt1.distributed.shipping import Rebuild, Way, rebuild_of
from streamt1.distributed.snapshots import Carried, ShipmentLostError
from streamt1.families.build import build
from tests.distributed.links import LocalLink
from tests.distributed.test_fleet import CONFIG
from tests.distributed.test_models import BASE, PROMPT, SCENES, Shifted, assert_same, make, searched, singly
from tests.search.toy import toy

pytestmark = pytest.mark.usefixtures("_quiet")
SHORT = singly(BASE)


class Shared:
    """Satisfies ``Carrier``: what a device has sent is gone with it, as in Ray's object stores."""

    def __init__(self, link: LocalLink, sent: dict[int, tuple[LocalLink, Carried]]) -> None:
        self._link, self._sent = link, sent

    def put(self, load: Carried) -> int:
        self._sent[len(self._sent)] = self._link, load
        return len(self._sent) - 1

    def get(self, sent: int) -> Carried:
        link, load = self._sent[sent]
        if link.closed or (link.dies_at is not None and link.requests >= link.dies_at):
            raise ShipmentLostError("the device is gone")
        return load


def late(rebuild: Rebuild, dies_at: list[int | None], models: Any = make, shared: bool = True) -> Fleet:
    """Devices that die at these requests; the first that does gets a successor, which lives for ``dies_at[-1]``."""
    made, sent = list[LocalLink](), dict[int, tuple[LocalLink, Carried]]()

    def link(dies: int | None) -> LocalLink:
        made.append(LocalLink(models(), f"device {len(made)}", dies))
        if shared:
            made[-1].worker.carrier = Shared(made[-1], sent)
        return made[-1]

    links = [link(dies) for dies in dies_at[:-1]]
    return Fleet(links, lambda lost: link(dies_at[-1]) if len(made) == len(links) else None, rebuild)


@pytest.mark.parametrize("name", ["cost", "compute", "ship"])
def test_all_ways_to_rebuild_give_the_same_search(name: str) -> None:
    alone = searched(make(), CONFIG, SCENES, None)
    for dies_at in (20, 45):
        fleet = late(rebuild_of(name), [None, dies_at, None], shared=False)
        assert_same(alone, searched(remote_models(fleet), CONFIG, SCENES, None))
        assert len(fleet) == 2
        shipped = fleet.catching_up.shipments
        assert bool(shipped) is (name == "ship") or name == "cost"
        assert all(one.passes > 0 and one.nbytes > 0 and one.target == "device 2" for one in shipped)


@pytest.mark.parametrize("who", ["the one that sends", "the one that receives"])
def test_either_may_be_lost_at_any_request(who: str) -> None:
    alone, rebuild, shipped = searched(make(), SHORT, "x", 4), rebuild_of("ship"), []
    for dies_at in range(1, 60):
        sends, receives = (dies_at, None) if who == "the one that sends" else (None, dies_at)
        fleet = late(rebuild, [sends, 14, None, receives])
        assert_same(alone, searched(remote_models(fleet), SHORT, "x", 4))
        shipped.append(len(fleet.catching_up.shipments))
        if fleet.lost == 1:
            break
    assert fleet.lost == 1
    assert 0 in shipped
    assert shipped[-1] > 0


def test_what_cannot_be_sent_is_made_again() -> None:
    """By a backbone that is not portable, and by one whose memory no snapshot takes."""

    class Sealed(GaussianBackbone):
        weigh = None  # type: ignore[assignment]
        dump = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name in ("weigh", "dump"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    class NotFinite(GaussianBackbone):
        def dump(self, branch: Any) -> Any:
            raise CheckpointError("it holds NaN")

    alone = searched(make(), SHORT, "x", 5)
    for backbone in (Sealed, NotFinite):

        def models(backbone: Any = backbone) -> Models:
            return dataclasses.replace(make(), backbone=backbone())

        fleet = late(rebuild_of("ship"), [None, 14, None], models)
        assert_same(alone, searched(remote_models(fleet), SHORT, "x", 5))
        assert not fleet.catching_up.shipments


@pytest.mark.parametrize("error", [OutOfMemoryError, torch.OutOfMemoryError, MemoryError])
@pytest.mark.parametrize("where", ["dump", "load", "put"])
def test_where_there_is_no_room_to_send_it_is_made_again(
    where: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error("no room")

    if where == "put":
        monkeypatch.setattr(Shared, "put", full)
    else:
        monkeypatch.setattr(GaussianBackbone, where, full)
    fleet = late(rebuild_of("ship"), [None, 14, None])
    assert_same(searched(make(), SHORT, "x", 5), searched(remote_models(fleet), SHORT, "x", 5))
    assert fleet.lost == 1
    assert not fleet.catching_up.shipments


def test_by_cost_follows_what_was_measured() -> None:
    """A slow pass makes it ship; the same pass over a slow way does not."""

    def told(seconds: float, rate: float) -> int:
        fleet = late(rebuild_of("cost"), [None, 30, None])
        measured = fleet.catching_up.measured
        measured.ran = lambda *_: measured.passes.update({f"device {place}": seconds for place in range(3)})  # type: ignore[method-assign]
        measured.ways["device 0", "device 2"] = Way(rate)
        searched(remote_models(fleet), SHORT, "x", 6)
        return len(fleet.catching_up.shipments)

    assert told(100.0, 1.0) > 0
    assert told(1e-9, 1.0) == 0


def test_an_unknown_way_is_probed() -> None:
    fleet = late(rebuild_of("cost"), [None, 30, None])
    searched(remote_models(fleet), SHORT, "x", 6)
    ways = fleet.catching_up.measured.ways
    assert set(ways) == {("device 0", "device 2")}
    assert ways["device 0", "device 2"].rate > 1e6


def test_what_was_received_is_given_back() -> None:
    backbones = list[GaussianBackbone]()

    def models() -> Models:
        backbones.append(GaussianBackbone())
        return toy(backbones[-1], decoder=Shifted())

    fleet = late(rebuild_of("ship"), [None, 14, None], models)
    searched(remote_models(fleet), SHORT, "x", 5)
    assert fleet.catching_up.shipments
    gc.collect()
    fleet.sync(flush=True)
    links = [seat.link for seat in fleet.seats]
    assert all(isinstance(link, LocalLink) and not link.worker._held for link in links)
    assert [backbones[place].live for place in (0, 2)] == [0, 0]


@pytest.mark.parametrize("name", ["ship", pytest.param("ship-4bit", marks=pytest.mark.slow)])
def test_pocket_ships_pages_plain_or_in_four_bits(name: str) -> None:
    config, threads = load_config("pocket").effective_search, torch.get_num_threads()
    config = singly(dataclasses.replace(config, top_k=1))
    torch.set_num_threads(1)
    shared = build(load_config("pocket"))
    try:
        alone = searched(shared, config, PROMPT, 3)
        fleet = late(rebuild_of(name), [None, 6, None], lambda: dataclasses.replace(shared, backbone=PocketBackbone()))
        found = searched(remote_models(fleet), config, PROMPT, 3)
        [*_, shipment] = fleet.catching_up.shipments
        if name == "ship":
            assert shipment.bits is None
            assert_same(alone, found)
        else:
            assert shipment.bits == 4
            assert alone[1].told != found[1].told
    finally:
        torch.set_num_threads(threads)
