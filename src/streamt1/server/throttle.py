"""How many wrong keys an address may try."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from streamt1.core.errors import ThrottledError

WRONG, SECONDS, ADDRESSES = 10, 60.0, 10_000
"""So many wrong keys in so long are too many; of so many addresses it is known, which bounds the memory."""


class Throttle:
    """Counts wrong keys by address. Every method may be called from any thread.

    Args:
        clock: seconds, from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises ``ThrottledError`` where too many came."""
        with self._lock:
            begun, count = self._wrong.get(place_of(address), (0.0, 0))
            wait = math.ceil(begun + SECONDS - self._clock())
        if count >= WRONG and wait > 0:
            raise ThrottledError(f"too many wrong keys came from this address; come back in {wait} seconds", wait)

    def failed(self, address: str) -> None:
        """A wrong key came."""
        place, now = place_of(address), self._clock()
        with self._lock:
            begun, count = self._wrong.pop(place, (now, 0))
            self._wrong[place] = (begun, count + 1) if now - begun < SECONDS else (now, 1)
            if len(self._wrong) > ADDRESSES:
                self._wrong.popitem(last=False)

    def __len__(self) -> int:
        return len(self._wrong)


def place_of(address: str) -> str:
    """Of an IPv6 address the network, since whoever has one has them all."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
