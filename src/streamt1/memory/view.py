"""What one layer's attention reads of a branch, and where a context pass writes."""

from __future__ import annotations

import torch
from torch import Tensor

from streamt1.core.transfer import room
from streamt1.core.types import Route
from streamt1.memory.branch import Branch
from streamt1.memory.device_pages import DevicePages
from streamt1.memory.pages import Page


def read(
    branch: Branch,
    layer: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
    copies: DevicePages | None = None,
) -> tuple[Tensor, Tensor]:
    """Keys and values of all tokens that ``branch`` remembers, ``[1, S, heads, head_dim]`` in ``dtype``.

    Only one layer is gathered at a time, and all candidates of the branch read the same gather. An empty branch has no
    tokens to read and raises ``ValueError``. ``device`` None leaves them where they are; with ``copies`` they are read
    on its device.
    """
    if not branch.pages:
        raise ValueError("an empty branch has nothing to read")
    if copies is not None:
        parts = [copies.layer(page, layer, dtype) for page in branch.pages]
    else:
        parts = [(page.keys[layer].to(device, dtype), page.values[layer].to(device, dtype)) for page in branch.pages]
    keys, values = zip(*parts)
    return torch.cat(keys)[None], torch.cat(values)[None]


class PageWriter:
    """Collects the keys and values of one chunk, layer by layer, during its clean context pass.

    Args:
        start: first latent frame of the chunk.
        position: time position that its keys are rotated to; None where that is ``start``.
        layers: of the model.
        home: where the page will live; None means where it is written.
        copies: keeps what was written too, where it is not at home there and there is room.
    """

    def __init__(
        self,
        start: int,
        layers: int,
        home: torch.device | None = None,
        copies: DevicePages | None = None,
        position: int | None = None,
    ) -> None:
        self.start, self.position = start, position
        self._home, self._copies = home, copies
        self._missing = set(range(layers))
        self._layers = layers
        self._written: Tensor | None = None

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Mutates: takes in ``[L, heads, head_dim]`` of a layer."""
        if self._written is None:
            shape = (2, self._layers, *k.shape)
            stays = self._copies is not None and self._copies.fits(2 * self._layers * k.nbytes)
            self._written = room(shape, k.dtype, k.device) if stays else self._at_home(shape, k)
        self._written[0, layer].copy_(k)
        self._written[1, layer].copy_(v)
        self._missing.discard(layer)

    def page(self, id: str, route: Route | None) -> Page:
        """The finished page. Raises ``ValueError`` when a layer has not been written."""
        if self._written is None or self._missing:
            raise ValueError(f"{len(self._missing)} layers have not written their keys and values")
        written = self._written
        if self._home is None or written.device == self._home:
            return Page(self.start, written[0], written[1], id, route, self.position)
        home = self._at_home(written.shape, written).copy_(written)
        page = Page(self.start, home[0], home[1], id, route, self.position)
        if self._copies is not None:
            self._copies.keep(page, written[0], written[1])
        return page

    def _at_home(self, shape: tuple[int, ...], written: Tensor) -> Tensor:
        return room(shape, written.dtype, self._home or written.device, lock=written.device.type == "cuda")
