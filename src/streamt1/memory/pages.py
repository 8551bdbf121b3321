"""Pages of keys and values, and who holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from streamt1.core.errors import MemoryIntegrityError
from streamt1.core.identity import content_id
from streamt1.core.types import Route
from streamt1.memory.codecs import Codec
from streamt1.memory.storage import Reading, Stored, codec_name, moved, room_for, same, tensors_in


class Content:
    """What pages that read the same have in common, whatever dtype they are kept in; copies are found by it."""


@dataclass(frozen=True, eq=False)
class Page:
    """Keys and values of one chunk in every layer. Never written after it is made, so any number of beams may read it.

    Attributes:
        start: first latent frame of the chunk.
        turned: time position that its first frame's keys are rotated to, where that is not ``start``.
        keys, values: ``[layers, L, heads, head_dim]``, as they are or in codes (``memory.storage``).
        route: what becomes of the page when it leaves the local window.
        id: of its content, see ``core.identity``: pages of the same id hold the same, in whatever process they are.
        content: for this process's copies.
    """

    start: int
    keys: Stored
    values: Stored
    id: str
    route: Route | None = None
    turned: int | None = None
    content: Content = field(default_factory=Content)

    @property
    def position(self) -> int:
        """Time position that its first frame's keys are rotated to, in latent frames."""
        return self.start if self.turned is None else self.turned

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    @property
    def form(self) -> tuple[str | None, torch.dtype, torch.device]:
        """In which codec, dtype and place it is: pages of one id in one form are one page."""
        return codec_name(self.keys), self.keys.dtype, self.keys.device

    def layer(self, layer: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer where they are, ``[L, heads, head_dim]`` in ``dtype``."""
        reading = Reading(dtype)
        return reading.layer(self.keys, layer), reading.layer(self.values, layer)

    def with_content(self, keys: Stored, values: Stored, id: str) -> Page:
        """A new page at the same position."""
        return replace(self, keys=keys, values=values, id=id, content=Content())

    def kept_in(self, dtype: torch.dtype) -> Page:
        """The page in another dtype, the one that it is read in: what is read of it stays the same."""
        keys, values = self._written_in(None, dtype)
        return replace(self, keys=keys, values=values)

    def coded_in(self, codec: Codec, id: str) -> Page:
        """The page in a codec: another content, which has a name of its own."""
        return self.with_content(*self._written_in(codec, self.keys.dtype), id)

    def _written_in(self, codec: Codec | None, dtype: torch.dtype) -> tuple[Stored, Stored]:
        keys, values = self.rooms(codec, dtype)
        for layer in range(len(keys)):
            keys[layer], values[layer] = self.layer(layer, torch.float32 if codec else dtype)
        return keys, values

    def at(self, device: torch.device) -> Page:
        """The page on another device; itself where it is there."""
        if self.keys.device == device:
            return self
        return self.brought(device)

    def brought(self, device: torch.device, lock: bool = False) -> Page:
        """A copy on a device; on the host in locked memory, if it lends so much."""
        return replace(self, keys=moved(self.keys, device, lock), values=moved(self.values, device, lock))

    def rooms(self, codec: Codec | None, dtype: torch.dtype) -> tuple[Stored, Stored]:
        """Room for keys and values of another page, where this one's are."""
        like = torch.empty(self.keys.shape[1:], dtype=dtype, device="meta")
        place = self.keys.device, self.keys.is_pinned()
        keys, values = (room_for(len(self.keys), like, codec, *place) for _ in range(2))
        return keys, values


class PagePool:
    """Counts the branches that hold each page; a page that nobody holds is forgotten, which frees its memory."""

    def __init__(self) -> None:
        self._holders: Counter[Page] = Counter()

    def hold(self, pages: Iterable[Page]) -> None:
        """Mutates: one more holder for each page."""
        self._holders.update(pages)

    def drop(self, pages: Iterable[Page]) -> None:
        """Mutates: one holder less. Raises ``MemoryIntegrityError`` for a page that nobody holds."""
        for page in pages:
            if self._holders[page] < 1:
                raise MemoryIntegrityError(f"the page of frames {page.start}.. was released more often than held")
            self._holders[page] -= 1
            if not self._holders[page]:
                del self._holders[page]

    def known(self, page: Page) -> Page:
        """For a page from elsewhere: the held one that is the same; otherwise the page.

        Machines compute in their own ways: one that should be the same and is not, to the last bit, is named anew.
        """
        for held in self._holders:
            if (held.id, held.form) == (page.id, page.form):
                alike = same(held.keys, page.keys) and same(held.values, page.values)
                if alike and (held.start, held.turned, held.route) == (page.start, page.turned, page.route):
                    return held
                held_in = (*tensors_in(page.keys), *tensors_in(page.values))
                return self.known(replace(page, id=content_id(page.id, *held_in)))
        return page

    @property
    def live(self) -> int:
        """Number of distinct pages that somebody holds."""
        return len(self._holders)

    @property
    def nbytes(self) -> int:
        """Bytes of all held pages, each counted once however many beams share it."""
        return sum(page.nbytes for page in self._holders)

    def check(self, branches: Iterable[Iterable[Page]]) -> None:
        """Proves the counts: exactly the pages of ``branches`` are held, each as often as they hold it."""
        expected = Counter(page for pages in branches for page in pages)
        if expected != self._holders:
            wrong = {page.start for page in (expected - self._holders) + (self._holders - expected)}
            raise MemoryIntegrityError(f"wrong holder counts for the pages that start at frames {sorted(wrong)}")
