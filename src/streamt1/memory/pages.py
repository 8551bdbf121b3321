"""Pages of keys and values, and who holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from streamt1.core.errors import MemoryIntegrityError
from streamt1.core.identity import content_id
from streamt1.core.transfer import room
from streamt1.core.types import Route


class Content:
    """What pages that read the same have in common, whatever dtype they are kept in; copies are found by it."""


@dataclass(frozen=True, eq=False)
class Page:
    """Keys and values of one chunk in every layer. Never written after it is made, so any number of beams may read it.

    Attributes:
        start: first latent frame of the chunk.
        turned: time position that its first frame's keys are rotated to, where that is not ``start``.
        keys, values: ``[layers, L, heads, head_dim]``.
        route: what becomes of the page when it leaves the local window.
        id: of its content, see ``core.identity``: pages of the same id hold the same, in whatever process they are.
        content: for this process's copies.
    """

    start: int
    keys: Tensor
    values: Tensor
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

    def with_content(self, keys: Tensor, values: Tensor, id: str) -> Page:
        """A new page at the same position."""
        return replace(self, keys=keys, values=values, id=id, content=Content())

    def kept_in(self, dtype: torch.dtype) -> Page:
        """The page in another dtype, the one that it is read in: what is read of it stays the same."""
        keys, values = (self.like(part, dtype).copy_(part) for part in (self.keys, self.values))
        return replace(self, keys=keys, values=values)

    def at(self, device: torch.device) -> Page:
        """The page on another device; itself where it is there."""
        if self.keys.device == device:
            return self
        return replace(self, keys=self.keys.to(device), values=self.values.to(device))

    def like(self, part: Tensor, dtype: torch.dtype) -> Tensor:
        """Room for keys or values of another page, where this one's are."""
        return room(part.shape, dtype, part.device, part.is_pinned())


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
            if (held.id, held.keys.dtype, held.keys.device) == (page.id, page.keys.dtype, page.keys.device):
                same = torch.equal(held.keys, page.keys) and torch.equal(held.values, page.values)
                if same and (held.start, held.turned, held.route) == (page.start, page.turned, page.route):
                    return held
                return self.known(replace(page, id=content_id(page.id, page.keys, page.values)))
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
