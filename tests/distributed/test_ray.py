"""The same over real processes on a Ray that is started for it."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future

import pytest
import torch

from streamt1 import load_config
from streamt1.core.errors import CheckpointError, ConfigError, StreamT1Warning
from streamt1.distributed.answers import Asked, Patience
from streamt1.distributed.devices import devices, one_by_one
from streamt1.families.build import build
from streamt1.search.engine import Engine
from tests.distributed.test_models import PROMPT, assert_same, searched

pytest.importorskip("ray")
CONFIG = one_by_one(load_config("pocket", {"device": "cpu"}))


@pytest.mark.slow
def test_what_a_device_lacks_is_said_before_anything_begins(tmp_path):
    config = one_by_one(load_config("longlive", {"models": str(tmp_path), "device": "cpu"}))
    with pytest.raises(CheckpointError, match=r"^on .*: .*"), devices(config, 1):
        pass


@pytest.mark.parametrize(
    ("changes", "count", "address", "told"),
    [
        ({"device": "cuda:1"}, 2, None, "is one device"),
        ({"device": "tpu"}, 2, None, "unknown device 'tpu'"),
        ({"device": "cpu"}, 99999, None, "99999 devices are too many for this machine"),
        ({"device": "cpu"}, 2, "127.0.0.1:1", "there is no Ray at '127.0.0.1:1'"),
        ({"placement.reward_devices": 2}, 2, None, "of 2 devices leave none that generates; give more devices"),
    ],
)
def test_what_cannot_be_had(changes, count, address, told):
    with pytest.raises(ConfigError, match=told), devices(one_by_one(load_config("pocket", changes)), count, address):
        pass


def test_a_cluster_that_is_remembered_and_gone_is_told_at_once(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match="there is no Ray at 'auto'"), devices(CONFIG, None, "auto"):
        pass


def test_a_ray_that_does_not_begin_is_one_sentence(monkeypatch):
    def init(**told):
        raise Exception("The current node timed out during startup.\nMore of it.")

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ConfigError, match=r"no Ray on this machine \(Exception: The current"), devices(CONFIG, 2):
        pass


def test_other_batches_are_refused():
    with pytest.raises(ConfigError, match="several compute candidates one at a time"):
        one_by_one(load_config("pocket", {"search.candidate_batch": 4}))


@pytest.fixture(scope="module")
def models():
    with devices(CONFIG, 2, rebuild="ship") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield searched(build(CONFIG), CONFIG.effective_search, PROMPT, 4)
    finally:
        torch.set_num_threads(threads)


def test_two_processes_make_the_same_video(models, alone):
    assert_same(alone, searched(models, CONFIG.effective_search, PROMPT, 4))


def test_one_is_killed_and_replaced(models, alone):
    fleet = models.backbone._fleet
    killed = []

    def kill(event):
        if type(event).__name__ == "CandidateProposed" and event.chunk == 2 and not killed:
            killed.append(fleet._seats[0].link._host.call(os.getpid).result())
            os.kill(killed[0], signal.SIGKILL)

    class Killing(type(alone[1])):
        def happened(self, event):
            super().happened(event)
            kill(event)

    seen = Killing()
    with pytest.warns(StreamT1Warning, match="is lost"):
        result = Engine(models, CONFIG.effective_search, seen).run(PROMPT, 4, seed=5)
    assert_same(alone, (result, seen))
    assert fleet.lost == 1
    until = time.monotonic() + 120
    while len(fleet) < 2 and time.monotonic() < until:
        fleet.answer([])
        time.sleep(0.2)
    pids = [seat.link._host.call(os.getpid).result() for seat in fleet._seats]
    assert len(pids) == 2
    assert killed[0] not in pids
    assert_same(alone, searched(models, CONFIG.effective_search, PROMPT, 4))


def test_an_answer_that_is_lost_on_its_way_is_found_out(models, alone):
    """Ray brings it, and here it is dropped: the process answers what is asked after it, and is replaced."""
    fleet, dropped = models.backbone._fleet, []
    answers = fleet._seats[0].link._host._answers
    ask = answers._ask

    def losing(function, *args):
        reply = ask(function, *args)
        if dropped or not args or not args[0].jobs:
            return reply
        dropped.append(reply)
        return Asked(Future())

    answers._ask, answers._patience = losing, Patience(0.5, 0.5, 0.5)
    lost = fleet.lost
    with pytest.warns(StreamT1Warning, match=r"is lost \(the answer to a call was lost on its way\)"):
        assert_same(alone, searched(models, CONFIG.effective_search, PROMPT, 4))
    assert (len(dropped), fleet.lost - lost) == (1, 1)


def test_an_answer_is_known_to_be_on_its_way(models):
    """By the cluster, whether or not it has been brought here."""
    host = models.backbone._fleet._seats[0].link._host
    asked = host._ask(time.sleep, 1)
    assert not asked.on_its_way()
    asked.answer.result(30)
    assert asked.on_its_way()


@pytest.mark.slow
def test_memory_goes_from_one_process_to_another(models):
    """One is killed while a branch lives on: its successor gets the branch from the other, and goes on with it."""
    fleet, backbone = models.backbone._fleet, models.backbone
    branch = backbone.start(PROMPT)
    for own in torch.randn(3, *backbone.chunk_shape):
        before, branch = branch, backbone.commit(branch, own, None)
        backbone.release(before)
    x, noise = torch.randn(2, *backbone.chunk_shape), torch.randn(2, backbone.draws, *backbone.chunk_shape)
    x, noise = x[:1].repeat(2, 1, 1, 1, 1), noise[:1].repeat(2, *[1] * (noise.ndim - 1))

    def clean():
        return backbone.denoise([branch] * 2, x, noise, range(backbone.steps))[1]

    wanted, count = clean(), len(fleet.catching_up.shipments)
    os.kill(fleet.seats[0].link._host.call(os.getpid).result(), signal.SIGKILL)
    with pytest.warns(StreamT1Warning, match="is lost"):
        assert torch.equal(clean(), wanted)
    until = time.monotonic() + 120
    while len(fleet.catching_up.shipments) == count and time.monotonic() < until:
        assert torch.equal(clean(), wanted)
        time.sleep(0.2)
    [shipment] = fleet.catching_up.shipments[count:]
    assert (shipment.branches, shipment.passes) == (1, 3)
    assert torch.equal(clean(), wanted)
    assert torch.equal(wanted[0], wanted[1])
