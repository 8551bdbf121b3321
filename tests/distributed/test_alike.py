"""Devices that are to be alike: those that are there at first, and those that take the place of lost ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import torch

from streamt1 import load_config
from streamt1.config.schema import Placement
from streamt1.core.errors import CheckpointError, ConfigError, DeviceLostError
from streamt1.distributed import devices
from streamt1.distributed.seats import LinkLostError
from streamt1.distributed.snapshots import InReplies
from tests.distributed.test_models import BASE, make, searched, singly

pytestmark = pytest.mark.usefixtures("_quiet")
CONFIG = devices.one_by_one(load_config("pocket", {"device": "cpu"}))
SEARCH = singly(BASE)


class Machine:
    """What one process of a cluster has: its weights, the bits of its plan, and whether its models load."""

    def __init__(self, weights: str = "same", bits: int = 16, fails: str | None = None, dies_at: int = 10**6) -> None:
        self.weights, self.bits, self.fails, self.dies_at = weights, bits, fails, dies_at


class Hosts:
    """A cluster: each place has machines, one after another."""

    device = "cpu"

    def __init__(self, places: list[list[Machine]], monkeypatch: pytest.MonkeyPatch) -> None:
        self.places, self.count, self.patch = places, len(places), monkeypatch

    def start(self, place: int) -> Host:
        return Host(self.places[place].pop(0), place, self.patch)


class Host:
    """A process in this one: it has the module's state for itself."""

    def __init__(self, machine: Machine, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine, self.place, self.name, self.patch = machine, place, f"device {place}", monkeypatch
        self.calls, self.state = 0, {"_loaded": [], "_failed": []}

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        self.calls += 1
        if self.calls > self.machine.dies_at:
            answer.set_exception(LinkLostError("it was switched off"))
            return answer
        for name, value in self.state.items():
            self.patch.setattr(devices, name, value)
        placed = CONFIG.model_copy(update={"placement": Placement(reward_bits=self.machine.bits)})
        self.patch.setattr(devices, "planned", lambda config, holds: (placed, None))
        self.patch.setattr(devices, "fingerprints", lambda config: {"model": self.machine.weights})
        self.patch.setattr(devices, "build", self._built)
        self.patch.setattr(devices, "ObjectStore", InReplies)
        try:
            answer.set_result(function(*args))
        except Exception as error:
            answer.set_exception(error)
        return answer

    def _built(self, *_: object) -> Any:
        if self.machine.fails:
            raise CheckpointError(self.machine.fails)
        return make()

    def end(self) -> None:
        pass


def run(places: list[list[Machine]], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, str]:
    """How many devices were lost, how many were there in the end, and why the last one was lost."""
    with devices.devices_of(Hosts(places, monkeypatch), CONFIG) as models:
        searched(models, SEARCH, "x", 5)
        fleet = models.backbone._fleet
        return fleet.lost, len(fleet), fleet._why


def test_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([[Machine()], [Machine(dies_at=12), Machine()]], monkeypatch)[:2] == (1, 2)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Machine(weights="other"), "different weights"),
        (Machine(bits=8), "different bits of rewards: 8 and 16; they have not the same memory: set device_memory"),
    ],
)
def test_what_differs_at_first_is_refused(other: Machine, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=told):
        run([[Machine()], [other]], monkeypatch)


@pytest.mark.parametrize("other", [Machine(weights="other"), Machine(bits=8), Machine(fails="cannot read /weights/x")])
def test_what_differs_later_is_not_let_in(other: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([[Machine()], [Machine(dies_at=12), other]], monkeypatch)[:2] == (1, 1)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Machine(fails="cannot read /weights/x"), "cannot read /weights/x"),
        (Machine(weights="other"), "different weights"),
    ],
)
def test_why_none_can_be_had_is_said(other: Machine, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceLostError, match=f"no other can be had .*{why}"):
        run([[Machine(dies_at=12), other, other]], monkeypatch)


def test_bits_are_those_of_devices_that_have_rewards() -> None:
    same = {"versions": "1", "weights": "w"}
    told = [{"machine": name, devices.BITS: bits, **same} for name, bits in (("a", None), ("b", 8), ("c", 8))]
    devices.check_same(told)
    with pytest.raises(ConfigError, match="d and b have different bits of rewards: 16 and 8"):
        devices.check_same([*told, {"machine": "d", devices.BITS: 16, **same}])


def test_a_gpu_that_fails_is_a_lost_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail at all that it is asked from then on; the work goes to the others."""
    failing, built = Machine(), Host._built

    def broken(self: Host, *args: object) -> Any:
        models = built(self, *args)
        if self.machine is failing:
            plain, calls = models.backbone.denoise, []

            def denoise(*told: Any) -> Any:
                calls.append(told)
                if len(calls) > 3:
                    raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nmore")
                return plain(*told)

            models.backbone.denoise = denoise
        return models

    monkeypatch.setattr(Host, "_built", broken)
    lost, left, why = run([[Machine()], [failing, Machine()]], monkeypatch)
    assert (lost, left) == (1, 2)
    assert why == "its GPU has failed: CUDA error: uncorrectable ECC error encountered"
