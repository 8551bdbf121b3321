"""What one layer's attention reads of a branch, and where a context pass writes."""

from __future__ import annotations

import torch
from torch import Tensor

from streamt1.core.types import Route
from streamt1.memory.branch import Branch
from streamt1.memory.pages import Page


def read(branch: Branch, layer: int, dtype: torch.dtype, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Keys and values of all tokens that ``branch`` remembers, ``[1, S, heads, head_dim]`` in ``dtype``.

    Only one layer is gathered at a time, and all candidates of the branch read the same gather. An empty branch has no
    tokens to read and raises ``ValueError``. ``device`` None leaves them where they are.
    """
    if not branch.pages:
        raise ValueError("an empty branch has nothing to read")
    keys = torch.cat([page.keys[layer].to(device, dtype) for page in branch.pages])
    values = torch.cat([page.values[layer].to(device, dtype) for page in branch.pages])
    return keys[None], values[None]


class PageWriter:
    """Collects the keys and values of one chunk, layer by layer, during its clean context pass."""

    def __init__(self, start: int, layers: int) -> None:
        self.start = start
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers

    def write(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Mutates: keeps ``[L, heads, head_dim]`` of a layer."""
        self._keys[layer], self._values[layer] = k, v

    def page(self, id: str, route: Route | None) -> Page:
        """The finished page. Raises ``ValueError`` when a layer has not been written."""
        keys = [k for k in self._keys if k is not None]
        values = [v for v in self._values if v is not None]
        if len(keys) < len(self._keys):
            raise ValueError(f"{len(self._keys) - len(keys)} layers have not written their keys and values")
        return Page(self.start, torch.stack(keys), torch.stack(values), id, route)
