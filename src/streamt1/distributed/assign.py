"""Assign: which device takes which candidate."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil


def assign(rows: int, devices: int, lacks: Callable[[int, int], int]) -> list[int]:
    """The device of every row: as evenly as can be, where least is missing, neighbours together.

    Args:
        rows, devices: how many there are; at least one device.
        lacks: row and device -> how much the device would have to make first.
    """
    most = ceil(rows / devices)
    load, taken = [0] * devices, list[int]()
    for row in range(rows):
        last = taken[-1] if taken else 0
        free = [device for device in range(devices) if load[device] < most]
        best = min(free, key=lambda device: (lacks(row, device), (device - last) % devices))
        load[best] += 1
        taken.append(best)
    return taken
