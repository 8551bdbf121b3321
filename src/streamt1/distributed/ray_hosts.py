"""Processes on a Ray cluster, each with a device of its own, pinned by a placement group. Only here is Ray imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any

from streamt1.core.errors import ConfigError, needs_extra
from streamt1.distributed.answers import Answers, Asked
from streamt1.distributed.ray_cluster import connected, first_line
from streamt1.distributed.seats import LinkLostError
from streamt1.distributed.snapshots import Carried, ShipmentLostError

PATIENCE = 60
"""Seconds that a cluster may take to give what was asked for."""
ARRIVES = 600
"""Seconds that memory may take from one process to another; where its sender is gone, Ray says so before."""
PARTS = 10_000
"""The smallest part of a device that Ray knows is one of so many."""
MOST = 64
"""Processes that a Ray which is started here may have, beyond the machine's cores: Ray starts all at once."""


class Host:
    """One process with one device.

    Attributes:
        place: its number.
        name: for people.
    """

    def __init__(self, ray: Any, actor: Any, place: int) -> None:
        self._ray, self._actor, self.place, self.name = ray, actor, place, f"device {place}"
        self._answers = Answers(self._ask, lambda: self._ask(nothing))

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """What a function of a module gives in that process, or what it raises.

        It is ``LinkLostError`` where that process is gone, or the answer was lost on its way (``answers``). Calls are
        answered in the order in which they are made.
        """
        return self._answers.call(function, *args)

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._answers.end()
        self._ray.kill(self._actor)

    def _ask(self, function: Callable[..., Any], *args: Any) -> Asked:
        answer: Future[Any] = Future()
        raised: type[Any] = self._ray.exceptions.RayTaskError

        def done(reply: Future[Any]) -> None:
            error = reply.exception()
            if error is None:
                answer.set_result(reply.result())
            elif isinstance(error, raised):
                cause = getattr(error, "cause", None)
                answer.set_exception(cause if isinstance(cause, Exception) else error)
            else:
                answer.set_exception(LinkLostError(first_line(error)))

        reference = self._actor.call.remote(function, args)
        reference.future().add_done_callback(done)

        def on_its_way() -> bool:
            try:
                return bool(self._ray.wait([reference], timeout=0, fetch_local=False)[0])
            except Exception:  # there is no cluster any more
                return False

        return Asked(answer, on_its_way)


def nothing() -> None:
    """What a process does that is only asked whether it answers."""


class Hosts:
    """Places for processes on a cluster.

    Attributes:
        count: how many places there are.
        device: what torch calls the device of each.
    """

    def __init__(self, ray: Any, group: Any, count: int, gpu: bool, shares: int = 1) -> None:
        self._ray, self._group, self.count, self._gpu = ray, group, count, gpu
        self._share = 1 if shares == 1 else PARTS // shares / PARTS
        self.device = "cuda" if gpu else "cpu"

    def start(self, place: int) -> Host:
        """A new process in a place, whose last one has ended; returns at once."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        pinned = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=place)
        options = {"num_cpus": self._share, "num_gpus": self._share * self._gpu, "scheduling_strategy": pinned}
        return Host(self._ray, self._ray.remote(Calls).options(**options).remote(), place)


class Calls:
    """What runs in such a process."""

    def call(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return function(*args)


class ObjectStore:
    """Satisfies ``Carrier`` in such a process: from machine to machine directly, by Ray's object stores.

    What is sent lives as long as the process that sent it, and somebody knows of it.
    """

    def put(self, load: Carried) -> Any:
        import ray
        from ray.exceptions import RayError

        try:
            return ray.put(load)
        except RayError as error:  # the store, or the disk behind it, is full
            raise ShipmentLostError(first_line(error)) from error

    def get(self, sent: Any) -> Carried:
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(sent, timeout=ARRIVES)
        except RayError as error:
            raise ShipmentLostError(first_line(error)) from error


@contextmanager
def ray_hosts(count: int | None, address: str | None, device: str, shares: int = 1) -> Iterator[Hosts]:
    """So many processes, on a cluster that runs, or on one that is started on this machine for the block.

    Args:
        count: of devices; None for all that the cluster has.
        address: of the cluster, as Ray takes it; None starts one. A program that is connected already stays so.
        device: ``auto`` is CUDA where the cluster has any.
        shares: processes that a place has room for, of several that take turns on its device.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster is not there, or has not as many devices.
    """
    with needs_extra("ray", "more than one device"):
        import ray
    if device.startswith("cuda:"):
        raise ConfigError(f"device {device!r} is one device; with several, say cuda, and Ray gives each its own")
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {device!r}: with several, use auto, cpu or cuda")
    own = not ray.is_initialized()
    most = max(MOST, os.cpu_count() or 1)
    if own and address is None and count is not None and count > most:
        raise ConfigError(f"{count} devices are too many for this machine: ask for {most} at most, or name a cluster")
    with connected(ray, count, address) if own else nullcontext():
        there = ray.cluster_resources()
        gpu = device == "cuda" or (device == "auto" and there.get("GPU", 0) >= 1)
        kind = "GPU" if gpu else "CPU"
        count = int(there.get(kind, 0)) if count is None else count
        if count < 1 or there.get(kind, 0) < count:
            raise ConfigError(f"{count} devices were asked for, and Ray has {there.get(kind, 0):g} of kind {kind}")
        bundle = {"CPU": 1.0, "GPU": 1.0} if gpu else {"CPU": 1.0}
        group = ray.util.placement_group([bundle] * count, strategy="PACK")
        try:
            if not group.wait(PATIENCE):
                raise ConfigError(f"Ray gave no {count} devices within {PATIENCE} seconds: others may be using them")
            yield Hosts(ray, group, count, gpu, shares)
        finally:
            ray.util.remove_placement_group(group)
