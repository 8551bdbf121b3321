"""Copies on the device of pages that live on the host."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary, WeakSet

import torch

from streamt1.memory.pages import Content, Page
from streamt1.memory.storage import Coded, Stored, uploaded


@dataclass(eq=False)
class Reserved:
    """Bytes for a copy that is being written."""

    nbytes: int


class DevicePages:
    """Keeps copies of pages while there is room, so that each crosses the bus once. Mutable.

    Pages are never written, so nothing goes back. A copy lives as long as a page of its content and is not evicted
    before: every pass reads all pages, and whichever were dropped would be the next one missed.

    Args:
        device: where the copies are.
        limit: bytes that they may take; a page that does not fit crosses layer by layer whenever it is read.
    """

    def __init__(self, device: torch.device, limit: float) -> None:
        self.device, self.limit = device, limit
        self._copies: WeakKeyDictionary[Content, tuple[Stored, Stored]] = WeakKeyDictionary()
        self._reserved: WeakSet[Reserved] = WeakSet()

    @property
    def nbytes(self) -> int:
        """Bytes of all copies."""
        return sum(keys.nbytes + values.nbytes for keys, values in self._copies.values())

    def fits(self, nbytes: int) -> bool:
        """Whether there is room for so much more, beside what is reserved."""
        return self.nbytes + sum(one.nbytes for one in self._reserved) + nbytes <= self.limit

    def reserve(self, nbytes: int) -> Reserved | None:
        """Mutates: room for what is yet to be kept, for as long as somebody holds this; None where there is none."""
        if not self.fits(nbytes):
            return None
        room = Reserved(nbytes)
        self._reserved.add(room)
        return room

    def keep(self, page: Page, keys: Stored, values: Stored) -> None:
        """Mutates: what the page holds, as it stands on the device already."""
        self._copies[page.content] = keys, values

    def of(self, page: Page, dtype: torch.dtype) -> tuple[Stored, Stored]:
        """Keys and values: copies or the page's own. Mutates: where there is room, the page is brought over whole."""
        if page.content not in self._copies and self.fits(self._size(page, dtype)):
            self.keep(page, *(uploaded(part, self.device, dtype) for part in (page.keys, page.values)))
        return self._copies.get(page.content, (page.keys, page.values))

    @staticmethod
    def _size(page: Page, dtype: torch.dtype) -> int:
        """Bytes of its copy."""
        parts = page.keys, page.values
        return sum(part.nbytes if isinstance(part, Coded) else part.numel() * dtype.itemsize for part in parts)
