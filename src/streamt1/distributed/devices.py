"""Many devices as the models of a search: ``with devices(config, 4) as models: Pipeline(config, models)``."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch

from streamt1.config.schema import RunConfig
from streamt1.core.errors import ConfigError, StreamT1Error, UnknownNameError, causes
from streamt1.core.protocols import Models
from streamt1.core.provenance import versions
from streamt1.core.validation import check_whole
from streamt1.distributed.fleet import Fleet
from streamt1.distributed.models import remote_models
from streamt1.distributed.pool import DevicePool
from streamt1.distributed.ray_hosts import Host, Hosts, ObjectStore, ray_hosts
from streamt1.distributed.scorers import Scorers
from streamt1.distributed.seats import Link, LinkLostError
from streamt1.distributed.shipping import DEFAULT, Rebuild, rebuild_of
from streamt1.distributed.worker import Reply, Request, Worker
from streamt1.families.build import build
from streamt1.families.family import Holds
from streamt1.families.fingerprint import fingerprints
from streamt1.placement.memory_plan import planned

_loaded: list[Worker] = []
"""The one of this process, where it is a device's."""
_failed: list[str] = []
"""Why there is none, where it was to be."""
GPU_FAILED: Any = getattr(torch, "AcceleratorError", ())
"""Since torch 2.8; before, such an error has no type of its own."""
BITS = "bits of rewards"
"""What machines of different memory may plan otherwise, of all that changes what they say."""


def one_by_one(config: RunConfig) -> RunConfig:
    """The configuration as several devices compute it: candidates one at a time, whatever their number.

    Raises ``ConfigError`` where it asks for other batches.
    """
    if config.search.candidate_batch not in (None, 1):
        raise ConfigError(
            f"search.candidate_batch={config.search.candidate_batch} is for one device; several compute candidates one"
            " at a time"
        )
    return config.model_copy(update={"search": dataclasses.replace(config.search, candidate_batch=1)})


@contextmanager
def devices(
    config: RunConfig, count: int | None = None, address: str | None = None, rebuild: str | Rebuild = DEFAULT
) -> Iterator[Models]:
    """The models of a configuration on several devices, for one search at a time.

    Each has all models, or some have the rewards and the others the rest: see ``Placement.reward_devices``. Results do
    not depend on how many devices there are, nor on which of them are lost on the way.

    Args:
        config: that of ``one_by_one``.
        count: of devices; None for all that a running cluster has.
        address: of a running Ray cluster, such as ``auto``; None starts one on this machine for the block.
        rebuild: how a device that comes later gets memory, a name of ``shipping.REBUILDS`` or a way of your own. In
            four bits results depend on which devices were lost, and when.

    Raises:
        UnknownNameError: there is no such way to rebuild.
        MissingExtraError: Ray is not installed.
        ConfigError: memory is to travel in four bits and is kept in few already; there are not so many devices, none of
            them would generate, or they have other weights or another version of this package.
        StreamT1Error: what ``families.build.build`` raises on a device, whose machine it then names.
    """
    if rebuild_of(rebuild).bits is not None and config.memory.coded is not None:
        raise ConfigError(
            f"memory.bits={config.memory.bits} travels in few bits as it is: rebuild it by ship or cost, without 4bit"
        )
    if count is not None:
        check_whole("count", count)
        _check_split(config, count)
    with ray_hosts(count, address, config.device) as hosts, devices_of(hosts, config, rebuild) as models:
        yield models


@contextmanager
def devices_of(hosts: Hosts, config: RunConfig, rebuild: str | Rebuild = DEFAULT) -> Iterator[Models]:
    """The same on hosts that are there: a process more in each of their places. Raises what ``devices`` does."""
    links = _begun(hosts, config)
    fleet = Fleet([link for link in links if link.holds != "rewards"], _DeviceLink.another, rebuild_of(rebuild))
    apart = [link for link in links if link.holds == "rewards"]
    scorers = Scorers(apart, _DeviceLink.another) if apart else None
    try:
        _check_alike(links)
        yield remote_models(fleet, scorers)
    finally:
        fleet.close()
        if scorers is not None:
            scorers.close()


@contextmanager
def pool_of(hosts: Hosts, configs: Mapping[str, RunConfig]) -> Iterator[DevicePool]:
    """Hosts of which searches take some each: in each of their places a process more for every configuration.

    They are loaded one configuration after another. Raises what ``devices`` does.
    """
    pool = DevicePool(hosts.count, _DeviceLink.another)
    try:
        for name, config in configs.items():
            links = _begun(hosts, config)
            pool.add(name, links, config.placement.reward_devices)
            _check_alike(links)
        yield pool
    finally:
        pool.close()


def _begun(hosts: Hosts, config: RunConfig) -> list[_DeviceLink]:
    """Processes that load their models, one in each place; the last ones the rewards, where these are apart."""
    _check_split(config, hosts.count)
    config, apart = config.model_copy(update={"device": hosts.device}), config.placement.reward_devices
    first: Holds = "generator" if apart else "all"
    return [
        _DeviceLink(hosts, place, config, first if place < hosts.count - apart else "rewards")
        for place in range(hosts.count)
    ]


def _check_split(config: RunConfig, count: int) -> None:
    """Raises ``ConfigError`` where all devices would hold rewards and nothing else."""
    apart = config.placement.reward_devices
    if apart >= count:
        raise ConfigError(
            f"placement.reward_devices={apart} of {count} devices leave none that generates; give more devices, or set"
            " placement.reward_devices to less (0: every device holds all models)"
        )


class _DeviceLink:
    """Satisfies ``Link``: a process that loads the models as soon as it is there.

    Attributes:
        alike: what the first devices told of themselves, which one in the place of another must, too.
    """

    def __init__(
        self, hosts: Hosts, place: int, config: RunConfig, holds: Holds, alike: dict[str, Any] | None = None
    ) -> None:
        self._hosts, self._config, self.alike = hosts, config, alike
        self.holds: Holds = holds
        self._host: Host = hosts.start(place)
        self.name, self.ready = self._host.name, self._host.call(load, config, holds, alike)

    def submit(self, request: Request) -> Future[Reply]:
        return self._host.call(answer, request)

    def close(self) -> None:
        self._host.end()

    @staticmethod
    def another(link: Link) -> _DeviceLink:
        """A new device in the place of one that was lost."""
        assert isinstance(link, _DeviceLink)
        return _DeviceLink(link._hosts, link._host.place, link._config, link.holds, link.alike)


def load(config: RunConfig, holds: Holds, alike: dict[str, Any] | None = None) -> dict[str, Any]:
    """Makes this process a device of that kind, and ``introduced``; it must be like others that are there.

    Raises what ``build`` and ``check_same`` raise, of which ``answer`` tells, too.
    """

    def begin() -> int | None:
        own, plan = planned(config, holds)
        _loaded[:] = [Worker(build(own, plan is not None, holds), ObjectStore())]
        return None if holds == "generator" else own.placement.reward_bits

    try:
        told = introduced(config, begin)
        if alike is not None:
            check_same([alike, told])
    except Exception as error:
        _loaded.clear()
        _failed[:] = [str(error)]
        raise
    return told


def introduced(config: RunConfig, begin: Callable[[], int | None]) -> dict[str, Any]:
    """Where this process of a cluster is, and what it has loaded, once it has begun; for ``check_same``.

    Args:
        begin: loads, and returns in how many bits the plan of this machine has the rewards, None without rewards. What
            it raises is raised with the machine's name.
    """
    where = socket.gethostname()
    try:
        if config.device == "cpu":
            torch.set_num_threads(config.threads or 1)
        return {BITS: begin(), "machine": where, "versions": versions(), "weights": fingerprints(config)}
    except UnknownNameError as error:  # its words are made of what it names
        raise ConfigError(f"on {where}: {error}") from error
    except StreamT1Error as error:
        error.args = (f"on {where}: {error}", *error.args[1:])
        raise


def answer(request: Request) -> Reply:
    """The reply of this process's device.

    Raises ``LinkLostError`` where it has none, as its models did not load, and where its GPU has failed: that fails at
    whatever it is asked from then on.
    """
    if not _loaded:
        raise LinkLostError(f"its models did not load: {_failed[0]}" if _failed else "its models did not load")
    reply = _loaded[0].answer(request)
    failed = next((one for one in causes(reply.error) if isinstance(one, GPU_FAILED)), None)
    if failed is not None:
        raise LinkLostError(f"its GPU has failed: {str(failed).partition(chr(10))[0]}")
    return reply


def _check_alike(links: Sequence[_DeviceLink]) -> None:
    """Waits until the first devices are ready. Raises what they raised, and what ``check_same`` does."""
    told = [_ready(link) for link in links]
    check_same(told)
    bits = next((one[BITS] for one in told if one[BITS] is not None), None)
    for link in links:
        link.alike = told[0] | {BITS: bits}


def _ready(link: _DeviceLink) -> dict[str, Any]:
    try:
        return link.ready.result()
    except LinkLostError as error:
        raise ConfigError(f"{link.name} ended before its models were loaded ({error})") from error


def check_same(told: list[dict[str, Any]]) -> None:
    """Raises ``ConfigError`` where a device has something else than the first, and would make other candidates."""
    for what in ("versions", "weights", BITS):
        first, *others = [one for one in told if one[what] is not None] or told[:1]
        for one in others:
            if one[what] != first[what]:
                machines = f"{one['machine']} and {first['machine']}"
                remedy = (
                    "; they have not the same memory: set device_memory and host_memory to that of the smaller"
                    if what == BITS
                    else ""
                )
                raise ConfigError(f"{machines} have different {what}: {one[what]!r} and {first[what]!r}{remedy}")
