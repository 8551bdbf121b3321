"""A Ray cluster for a block: one that runs, or one that is started on this machine and ends with the block."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from streamt1.core.errors import ConfigError
from streamt1.core.stopping import before_leaving
from streamt1.distributed.processes import end_below, own_groups

REACHED = 10
"""Seconds that a cluster's address may take to answer."""
STORE = 512 * 2**20
"""Bytes of shared memory for what travels, where we start Ray: a candidate's frames are 15 MB at most. What does not
fit goes by way of the disk."""


@contextmanager
def connected(ray: Any, count: int | None, address: str | None) -> Iterator[None]:
    """Connects to a cluster, or starts one, until the block ends.

    One that is started leaves no process behind, whatever ends the block, and where a signal ends this process.

    Args:
        count: of devices that it must have room for, where it is started.
        address: of one that runs; None starts one.

    Raises ``ConfigError`` where there is none.
    """
    ours = partial(end_below, os.path.dirname(ray.__file__))
    with before_leaving(ours) if address is None else nullcontext():
        try:
            _begin(ray, count, address)
        except BaseException:
            if address is None:
                ours()  # Ray does not know yet what it was starting
            raise
        try:
            yield
        finally:
            ray.shutdown()


def _begin(ray: Any, count: int | None, address: str | None) -> None:
    """Signals stay with whoever had them: Ray takes SIGTERM while it begins, and makes an exit of it."""
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if mine else {}
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        if address is not None:
            check_reachable(address)
            ray.init(address=address, **quiet)
        else:
            cores = max(count or 0, os.cpu_count() or 1)
            with own_groups():
                ray.init(address="local", num_cpus=cores, include_dashboard=False, object_store_memory=STORE, **quiet)
    except Exception as error:  # Ray raises bare ones, such as where its processes don't come in time
        told = first_line(error)
        if address is not None:
            raise ConfigError(f"there is no Ray at {address!r} ({told})") from error
        raise ConfigError(
            f"there is no Ray on this machine ({told}); where it is busy, try again, or name a cluster that runs"
        ) from error
    except SystemExit:
        _put_back(before)
        if mine:
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        _put_back(before)


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def check_reachable(address: str) -> None:
    """Raises ``OSError`` within seconds where nobody listens; Ray itself would try for minutes.

    What ``auto`` means is asked of Ray, which remembers the last cluster of this machine after its end. Raises
    ``ValueError`` for what is no address.
    """
    if not address.strip():
        raise ValueError("an address reads HOST:PORT, or auto")
    if address == "auto":
        with suppress(ImportError):
            from ray._private.services import canonicalize_bootstrap_address

            address = canonicalize_bootstrap_address(address) or address
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED).close()


def first_line(error: BaseException) -> str:
    """An error's kind, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
