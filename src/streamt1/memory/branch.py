"""A beam's memory: sinks, a recalled chunk, the local window. A commit gives a new branch, and evicts once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from streamt1.core.errors import SHOWN, ConfigError
from streamt1.core.identity import content_id
from streamt1.core.timeline import Switch
from streamt1.core.types import Remembered, Route
from streamt1.core.validation import check_numbers
from streamt1.memory.codecs import Codec
from streamt1.memory.pages import Page, PagePool
from streamt1.memory.recall import read_on, with_first
from streamt1.memory.shots import check_shots, next_to_leave, with_shot
from streamt1.memory.storage import BLEND, BLENDS, CODECS, SINK, Reading, codec_name, put_sum

Rebuild = Literal["off", "encoded", "first"]
BLENDED = {codec.name for codec in BLENDS}
FURTHEST = 10_000
"""Latent frames that a shot may jump by, over half an hour: rotary was never trained so far, and stays exact."""


@dataclass(frozen=True)
class MemoryConfig:
    """Sizes in latent frames (SPEC section 5); the defaults are LongLive under Stream-T1.

    Attributes:
        window: capacity of sink and local window together, the current chunk included.
        sink: frames of the first chunks that never leave.
        max_sink: how far appended sinks may grow the sink part.
        chunk: latent frames per chunk.
        ema_alpha: how much of a sink slot survives one EMA update.
        eviction: what becomes of a chunk that leaves the window: as its route says (Stream-T1), always blended into the
            last sink (``ema``, Reward Forcing), or always dropped (``discard``, LongLive and Self-Forcing).
        switch: what a new prompt does to what was written under the old one, see ``memory.switch``; as the model was
            trained: ``keep`` (pocket), ``recache`` (LongLive), ``cut``, or ``shot`` (LongLive 2).
        global_sink: whether a re-cache leaves the sinks as they are, once the window has slid.
        positions: where in time the past stands: ``absolute``, at its frame, or ``relative``, in its slot, so that no
            position lies beyond the window (LongLive's infinite attention).
        recall: how many scenes' first chunks are kept aside, those shown last. When a scene returns, its own is read
            again as one more sink, for as long as the scene lasts (``memory.recall``). 0 keeps none.
        shot_offset: latent frames that time jumps by, besides, where a shot begins (``memory.shots``); at most
            ``FURTHEST``.
        rebuild: whether memory is written anew after every chunk, from the last clean latents (``window`` less the
            current chunk), at the same positions (Krea). Of those the oldest is then, once it is no longer the video's
            first, either that one all the same (``first``), or what was shown there as a picture (``encoded``).
        bits: of the numbers of pages; 16 leaves them as the model computes them, whatever its dtype. With fewer, a
            sink has 8 and one that was blended into 12, see ``memory.storage``.
        codec: how pages are kept in fewer bits: ``rotated`` in 8, 4 or 2 (TurboQuant), and to compare with it
            ``channels`` in 8 and ``grouped`` in 4.
        local_heads: ``(layer, head)`` of heads that read their own chunk and nothing of the past (Dummy Forcing).
        corrected: denoising steps that are taken over the first chunk alone before they are taken over all, see
            ``Schedule``. With ``recall`` it is the first of the scene, and otherwise the first sink, which is a blend
            where chunks are blended into it. Where there is none (in a scene that begins, with ``recall``; after a
            cut) both passes read what there is.
    """

    window: int = 12
    sink: int = 3
    max_sink: int = 15
    chunk: int = 3
    ema_alpha: float = 0.999
    eviction: Literal["route", "ema", "discard"] = "route"
    switch: Switch = "keep"
    global_sink: bool = True
    positions: Literal["absolute", "relative"] = "absolute"
    recall: int = 0
    shot_offset: int = 0
    rebuild: Rebuild = "off"
    bits: int = 16
    codec: str = "rotated"
    local_heads: tuple[tuple[int, int], ...] = ()
    corrected: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.chunk < 1:
            raise ConfigError(f"chunk={self.chunk} must be at least 1 latent frame")
        for name in ("window", "sink", "max_sink"):
            if getattr(self, name) % self.chunk:
                raise ConfigError(
                    f"{name}={getattr(self, name)} must be a multiple of chunk={self.chunk}: whole chunks enter and"
                    " leave memory, so a part of one can be neither routed nor placed"
                )
        if self.sink < 0 or self.chunk < 1 or self.window - self.sink < self.chunk:
            raise ConfigError(f"window={self.window} must hold sink={self.sink} and at least one chunk of {self.chunk}")
        if self.max_sink < self.sink:
            raise ConfigError(f"max_sink={self.max_sink} must be at least sink={self.sink}")
        if self.eviction not in ("route", "ema", "discard"):
            raise ConfigError(f"eviction={self.eviction!r} must be route, ema or discard")
        known = {"switch": get_args(Switch), "positions": ("absolute", "relative"), "rebuild": get_args(Rebuild)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"{name}={getattr(self, name)!r} is none of {', '.join(values)}")
        if self.recall < 0:
            raise ConfigError(f"recall={self.recall} must be at least 0 scenes")
        if not 0 <= self.shot_offset <= FURTHEST:
            raise ConfigError(f"shot_offset={str(self.shot_offset)[:SHOWN]} must lie in 0..{FURTHEST} latent frames")
        if self.switch == "shot":
            check_shots(self)
        if self.corrected and self.rebuild != "off":
            raise ConfigError(
                f"corrected={str(self.corrected)[:SHOWN]} reads the first chunk alone, which does not stay in a memory"
                f" that is written anew (rebuild={self.rebuild!r}): leave it out"
            )
        if self.corrected and not (self.sink or self.recall):
            raise ConfigError(
                f"corrected={str(self.corrected)[:SHOWN]} reads the first chunk alone, which leaves memory with"
                f" sink=0 and recall=0: set sink={self.chunk}"
            )
        if self.rebuild != "off":
            self._check_rebuild()
        if self.codec not in CODECS:
            raise ConfigError(f"codec={str(self.codec)[:SHOWN]!r} is none of {', '.join(CODECS)}")
        if self.bits not in (widths := (16, *CODECS[self.codec])):
            raise ConfigError(f"bits={str(self.bits)[:SHOWN]} of codec={self.codec!r} must be one of {widths}")
        pairs = self.local_heads
        if any(len(pair) != 2 or not all(type(one) is int and one >= 0 for one in pair) for pair in pairs):
            raise ConfigError(f"local_heads={str(pairs)[:SHOWN]} must be pairs [layer, head], both from 0")
        if len(set(pairs)) < len(pairs):
            raise ConfigError(f"local_heads={str(pairs)[:SHOWN]} names a head twice")
        if not 0 <= self.ema_alpha <= 1:
            raise ConfigError(f"ema_alpha={self.ema_alpha} must lie in 0..1")

    def _check_rebuild(self) -> None:
        needed = {"sink": 0, "max_sink": 0, "eviction": "discard", "positions": "relative", "recall": 0}
        for name, value in needed.items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"rebuild={self.rebuild!r} writes memory anew from the last latents, so nothing stays in it that a"
                    f" route or a sink could keep: set {name}={value!r}, not {getattr(self, name)!r}"
                )
        if self.switch not in ("keep", "cut"):
            raise ConfigError(f"rebuild={self.rebuild!r} needs switch='keep' or 'cut', not {self.switch!r}")

    @property
    def coded(self) -> Codec | None:
        """How pages of the window are kept; None as they are."""
        return None if self.bits == 16 else CODECS[self.codec][self.bits]

    @property
    def turned(self) -> bool:
        """Whether all that is kept was rotated, and stands where it is read: then queries can be turned instead."""
        return self.coded is not None and self.codec == "rotated" and self.positions == "absolute"

    def codec_of(self, sinks: int) -> Codec | None:
        """How the page of a chunk is kept that is written after so many sinks."""
        becomes_sink = sinks < self.sink // self.chunk
        return SINK if self.coded is not None and becomes_sink else self.coded

    @property
    def local_chunks(self) -> int:
        """Chunks of the local window, the current one included."""
        return (self.window - self.sink) // self.chunk

    @property
    def max_frames(self) -> int:
        """The most latent frames that one branch holds, the current chunk included."""
        return self.window + self.max_sink - self.sink + (self.chunk if self.recall else 0)


@dataclass(frozen=True)
class Eviction:
    """What happened to the chunk that left the window.

    Attributes:
        start: its first latent frame.
        route: the label that it carried.
        outcome: what was done; an append that finds the sink full is blended instead, and an EMA without a sink drops.
        slot: the sink slot that it went to, None where it was dropped.
    """

    start: int
    route: Route
    outcome: Route
    slot: int | None


@dataclass(frozen=True, eq=False)
class Branch:
    """An immutable handle. ``pages`` are in reading order: sinks, what was recalled, the window, each oldest first.

    Attributes:
        chunks: how many chunks have been committed.
        since: the first of them that memory knows of; above 0 where it was emptied.
        eviction: what this branch's last commit pushed out of the window, if anything.
        recalled: the first chunk of this scene, when it was shown before, and is neither a sink nor in the window.
        shelf: scenes, and the first chunk of each, kept aside; the one shown last stands last.
        returned: whether this scene was shown before, and its first chunk put aside.
        shots: how many have begun after the first.
        opening: whether the next chunk begins one.
        shot: first latent frame of the chunk that began this one; it stays in the window. None in the first shot.
    """

    sinks: tuple[Page, ...] = ()
    window: tuple[Page, ...] = ()
    chunks: int = 0
    eviction: Eviction | None = None
    since: int = 0
    recalled: tuple[Page, ...] = ()
    shelf: tuple[tuple[str, Page], ...] = ()
    shots: int = 0
    opening: bool = False
    shot: int | None = None
    returned: bool = False

    @property
    def pages(self) -> tuple[Page, ...]:
        return self.sinks + self.recalled + self.window

    @property
    def held(self) -> tuple[Page, ...]:
        """Pages that it keeps alive, those that are not read among them."""
        return (*self.pages, *(page for _, page in self.shelf))

    @property
    def id(self) -> str:
        """Of all that is remembered: branches of the same id read the same."""
        return content_id(*(page.id for page in self.pages))

    def remembered(self, frames_per_chunk: int) -> Remembered:
        """The branch in chunks of the video, for those who watch."""
        parts = self.sinks + self.recalled, self.window
        sinks, window = (tuple(page.start // frames_per_chunk for page in part) for part in parts)
        back, gone = next((page.start // frames_per_chunk for page in self.recalled), None), self.eviction
        if gone is None:
            return Remembered(sinks, window, recalled=back)
        return Remembered(sinks, window, gone.start // frames_per_chunk, gone.route, gone.outcome, gone.slot, back)


class BranchingMemory:
    """The rules of memory sinking, over a pool of shared pages.

    Args:
        config: sizes.
        shift_time: moves rotated keys by some latent frames in time; the model's rotary embedding knows how.
    """

    def __init__(self, config: MemoryConfig, shift_time: Callable[[Tensor, int], Tensor]) -> None:
        self.config = config
        self.pool = PagePool()
        self._shift_time = shift_time
        self._blends: WeakValueDictionary[str, Page] = WeakValueDictionary()
        self._settled: WeakValueDictionary[str, Page] = WeakValueDictionary()

    def start(self) -> Branch:
        """An empty branch."""
        return Branch()

    def commit(self, parent: Branch, page: Page, scene: str = "") -> Branch:
        """A child of ``parent`` that also remembers ``page``, a chunk of that scene. Does not change the parent.

        What the *next* chunk pushes out of the window leaves here, once, by its own route (paper section 3.4), so
        neither candidates, layers nor denoising steps repeat it; siblings share a sink that they would blend alike.
        """
        child = with_shot(replace(parent, chunks=parent.chunks + 1, eviction=None), page)
        if (parent.chunks - parent.since) * self.config.chunk < self.config.sink:
            child = replace(child, sinks=(*parent.sinks, page))
        else:
            grown = replace(child, window=(*parent.window, page))
            child = read_on(grown, self.evict(grown), scene)
        return self.held(with_first(child, scene, page, self.config.recall))

    def held(self, branch: Branch) -> Branch:
        """Mutates the pool: the branch, whose pages it holds from now on."""
        self.pool.hold(branch.held)
        return branch

    def taken_in(self, branch: Branch, home: Callable[[Page], Page]) -> Branch:
        """Mutates the pool: :meth:`held` for a branch from elsewhere, which shares the pages that are here already.

        Args:
            branch: its pages are on the host.
            home: brings a page to where those are kept that are read.
        """
        own = {page: self.pool.known(home(page)) for page in branch.pages}
        sinks, recalled, window = (
            tuple(own[page] for page in part) for part in (branch.sinks, branch.recalled, branch.window)
        )
        shelf = tuple((scene, self.pool.known(page)) for scene, page in branch.shelf)
        return self.held(replace(branch, sinks=sinks, recalled=recalled, window=window, shelf=shelf))

    def release(self, branch: Branch) -> None:
        """Mutates the pool: this branch holds its pages no longer."""
        self.pool.drop(branch.held)

    def evict(self, branch: Branch) -> Branch:
        """The branch without what the next chunk pushes out of its window, if anything; holds nothing yet."""
        if len(branch.window) < self.config.local_chunks:
            return branch
        leaving = next_to_leave(branch)
        window = tuple(page for page in branch.window if page is not leaving)
        sinks, route, outcome = branch.sinks, self._route(leaving), Route.DISCARD
        if route is Route.APPEND and len(sinks) * self.config.chunk < self.config.max_sink:
            sinks, outcome = (*self._settle(sinks, leaving), leaving), Route.APPEND
        elif route is not Route.DISCARD and sinks:
            sinks, outcome = (*sinks[:-1], self._blend(sinks[-1], leaving)), Route.EMA
        slot = None if outcome is Route.DISCARD else len(sinks) - 1
        return replace(branch, sinks=sinks, window=window, eviction=Eviction(leaving.start, route, outcome, slot))

    def _route(self, leaving: Page) -> Route:
        if self.config.eviction == "route":
            return leaving.route or Route.DISCARD
        return Route(self.config.eviction)

    def _blend(self, slot: Page, leaving: Page) -> Page:
        """EMA of a sink slot, in float32: bfloat16 rounds most of a 0.1% update away (SPEC section 9, item 3).

        With fewer bits for pages it is kept in 12, rounded so that small updates add up.
        """
        id = content_id("ema", slot.id, leaving.id, self.config.ema_alpha)
        blend = self._blends.get(id)
        if blend is None:
            self._blends[id] = blend = self._blended(slot, leaving, id)
        return blend

    def _blended(self, slot: Page, leaving: Page, id: str) -> Page:
        """Layer by layer: the moved keys of all layers at once, in float64, would not fit beside a model."""
        alpha, shift, wide = self.config.ema_alpha, slot.position - leaving.position, Reading(torch.float32)
        codec = None if self.config.coded is None else replace(BLEND, seed=leaving.start)
        keys, values = slot.rooms(codec, slot.keys.dtype if codec else torch.float32)
        for layer in range(len(keys)):
            own, other = (wide.layer(page.keys, layer) for page in (slot, leaving))
            put_sum(keys, layer, alpha * own, (1 - alpha) * self._shift_time(other, shift))
            own, other = (wide.layer(page.values, layer) for page in (slot, leaving))
            put_sum(values, layer, alpha * own, (1 - alpha) * other)
        return slot.with_content(keys, values, id)

    def _settle(self, sinks: tuple[Page, ...], leaving: Page) -> tuple[Page, ...]:
        """Sinks before another is put behind them: the last is blended into no more, so it need not stay so precise.

        It is kept as it would be if nothing had been blended into it; siblings share it.
        """
        dtype = leaving.keys.dtype
        if not sinks or (sinks[-1].keys.dtype == dtype and codec_name(sinks[-1].keys) not in BLENDED):
            return sinks
        last = sinks[-1]
        settled = self._settled.get(last.id)
        if settled is None:
            if self.config.coded is None:
                settled = last.kept_in(dtype)
            else:
                codec = SINK if len(sinks) * self.config.chunk <= self.config.sink else self.config.coded
                settled = last.coded_in(codec, content_id(last.id, codec.name))
            self._settled[last.id] = settled
        return (*sinks[:-1], settled)
