"""Devices of which searches take some each."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext

import pytest

from streamt1.core.errors import StreamT1Warning
from streamt1.distributed.pool import DevicePool
from tests.distributed.links import LocalLink, generator, rewards
from tests.distributed.test_models import BASE, SCENES, assert_same, make, searched, singly

CONFIG = singly(BASE)


class Placed(LocalLink):
    made = 0

    @classmethod
    def another(cls, lost):
        cls.made += 1
        return cls(make(), f"{lost.name}'s successor")


def pool_of(*dies_at):
    pool = DevicePool(len(dies_at), Placed.another)
    links = [Placed(make(), f"device {place}", dies) for place, dies in enumerate(dies_at)]
    pool.add("toy", links)
    return pool, links


def test_searches_side_by_side_on_devices_of_their_own():
    pool, links = pool_of(None, None, None)
    alone, found = searched(make(), CONFIG, SCENES, None), {}

    def work(name, count):
        loan = pool.take(count)
        found[name] = loan.places, searched(loan.models("toy"), CONFIG, SCENES, None)
        loan.give_back()

    threads = [threading.Thread(target=work, args=(name, count)) for name, count in (("one", 1), ("two", 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found["one"][0] + found["two"][0]) == [0, 1, 2]
    for _, seen in found.values():
        assert_same(alone, seen)
    assert not any(link.worker._held or link.worker._parcels for link in links), "a loan leaves nothing behind"


def test_who_asks_for_more_than_is_free_waits_or_is_told_that_it_need_not():
    pool, _ = pool_of(None, None)
    first = pool.take(1)
    asked = []

    def wanted():
        asked.append(time.monotonic())
        return len(asked) < 2

    assert pool.take(2, wanted) is None
    threading.Timer(0.1, first.give_back).start()
    assert pool.take(2).places == [0, 1]


def test_a_lost_device_is_another_one_for_the_next_search():
    pool, _ = pool_of(12, None)
    alone = searched(make(), CONFIG, "x", 4)
    for _ in range(2):
        loan = pool.take(2)
        with pytest.warns(StreamT1Warning, match="device 0 is lost") if not Placed.made else nullcontext():
            assert_same(alone, searched(loan.models("toy"), CONFIG, "x", 4))
        loan.give_back()
    assert Placed.made == 1
    assert [link.name for link in pool._links["toy"]] == ["device 0's successor", "device 1"]


def test_rewards_of_their_own_take_all_devices():
    pool = DevicePool(3, Placed.another)
    links = [LocalLink(generator(make())), LocalLink(generator(make())), LocalLink(rewards(make()))]
    pool.add("toy", links, apart=1)
    assert pool.least("toy") == 3
    loan = pool.take(3)
    assert_same(searched(make(), CONFIG, "x", 4), searched(loan.models("toy"), CONFIG, "x", 4))
    loan.give_back()
    assert not any(link.worker._held for link in links)
