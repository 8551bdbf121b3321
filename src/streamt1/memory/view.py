"""What one layer's attention reads of a branch, and where a context pass writes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from streamt1.core.types import Route
from streamt1.memory.branch import Branch
from streamt1.memory.codecs import Codec, bits_of
from streamt1.memory.device_pages import DevicePages, Reserved
from streamt1.memory.pages import Page
from streamt1.memory.storage import Reading, Stored, room_for


def read(branch: Branch, layer: int, reading: Reading, copies: DevicePages | None = None) -> tuple[Tensor, Tensor]:
    """Keys and values of all tokens that ``branch`` remembers, ``[1, S, heads, head_dim]``.

    Only one layer is gathered at a time, and all candidates of the branch read the same gather. An empty branch has no
    tokens to read and raises ``ValueError``. With ``copies`` they are read on its device.
    """
    if not branch.pages:
        raise ValueError("an empty branch has nothing to read")
    stored = [copies.of(page, reading.dtype) if copies else (page.keys, page.values) for page in branch.pages]
    reading = replace(reading, device=copies.device) if copies else reading
    keys, values = (reading.layers(part, layer) for part in zip(*stored))
    return keys[None], values[None]


class PageWriter:
    """Collects the keys and values of one chunk, layer by layer, during its clean context pass.

    Args:
        start: first latent frame of the chunk.
        position: time position that its keys are rotated to; None where that is ``start``.
        layers: of the model.
        home: where the page will live; None means where it is written.
        copies: keeps what was written too, where it is not at home there and there is room.
        codec: how the page is kept; None as it is written.
    """

    def __init__(
        self,
        start: int,
        layers: int,
        home: torch.device | None = None,
        copies: DevicePages | None = None,
        position: int | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.start, self.position = start, position
        self._home, self._copies, self._codec = home, copies, codec
        self._missing = set(range(layers))
        self._layers = layers
        self._written: tuple[Stored, Stored] | None = None
        self._reserved: Reserved | None = None

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Mutates: takes in ``[L, heads, head_dim]`` of a layer."""
        if self._written is None:
            home = self._place(k)
            self._written = self._room(k, home), self._room(v, home)
        for stored, part in zip(self._written, (k, v)):
            stored[layer] = part
        self._missing.discard(layer)

    def page(self, id: str, route: Route | None) -> Page:
        """The finished page. Raises ``ValueError`` when a layer has not been written."""
        if self._written is None or self._missing:
            raise ValueError(f"{len(self._missing)} layers have not written their keys and values")
        keys, values = self._written
        page = Page(self.start, keys, values, id, route, self.position)
        if self._home is None or keys.device == self._home:
            return page
        at_home = page.brought(self._home, lock=keys.device.type == "cuda")
        if self._copies is not None:
            self._reserved = None  # what is kept takes its place
            self._copies.keep(at_home, keys, values)
        return at_home

    def _place(self, like: Tensor) -> torch.device:
        """On the device where a copy fits there; else where the page will live."""
        bits = bits_of(self._codec, *like.shape) if self._codec else like.itemsize * 8
        if self._copies is not None and self._home != like.device:
            self._reserved = self._copies.reserve(2 * self._layers * math.ceil(like.numel() * bits / 8))
        return like.device if self._reserved is not None else self._home or like.device

    def _room(self, like: Tensor, home: torch.device) -> Stored:
        return room_for(self._layers, like, self._codec, home, lock=like.device.type == "cuda")
