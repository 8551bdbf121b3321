"""A branch of memory as named tensors and what is told of them, and back: for ``core.snapshot``.

Each page is there once, however often a branch holds it: the first chunk may be a sink and put aside for recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from streamt1.core.errors import CheckpointError, warn
from streamt1.core.identity import content_id
from streamt1.core.snapshot import PAGES, Snapshot
from streamt1.core.types import Route
from streamt1.memory.branch import Branch, Eviction, MemoryConfig
from streamt1.memory.pages import Page
from streamt1.memory.storage import Coded, Stored, codec_called, codec_name, tensors_in

LONGEST = 2**31
"""No video has so many latent frames."""
CODES = "codes."
"""How the names begin of keys and values that are kept in codes."""
DAMAGED = (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError)
"""What reading raises where a snapshot is not what ``dump`` makes."""


def told_rules(config: MemoryConfig) -> dict[str, Any]:
    """The rules of a memory, by name."""
    return asdict(config)


def check_rules(snapshot: Snapshot, config: MemoryConfig) -> None:
    """Raises ``CheckpointError`` that names the rules which a snapshot's memory followed and this one does not."""
    here = rules_beside(snapshot.metadata.get("rules"), config)
    snapshot.check_same("rules", here, "under other rules of memory", "load it where `memory` is set as it was there")


def rules_beside(made: Any, config: MemoryConfig) -> dict[str, Any]:
    """The rules of a memory, to be held against those that something was made under.

    A rule that came later was followed at its default there, and is left out where it has that here.
    """
    here, usual = told_rules(config), told_rules(MemoryConfig())
    if not isinstance(made, dict):
        return here
    return {name: rule for name, rule in here.items() if name in made or rule != usual[name]}


def tensors_of(branch: Branch) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a branch holds: keys and values ``[layers, L, heads, head_dim]`` of its pages by name, and all else."""
    numbers: dict[tuple[str, str | None, torch.dtype], int] = {}
    pages: list[Page] = []

    def number(page: Page) -> int:
        key = page.id, codec_name(page.keys), page.keys.dtype
        if key not in numbers:
            numbers[key] = len(pages)
            pages.append(page)
        return numbers[key]

    gone = branch.eviction
    told = {
        "chunks": branch.chunks,
        "since": branch.since,
        "eviction": None if gone is None else [gone.start, gone.route.value, gone.outcome.value, gone.slot],
        **{part: [number(page) for page in getattr(branch, part)] for part in ("sinks", "recalled", "window")},
        "shelf": [[scene, number(page)] for scene, page in branch.shelf],
        "shot": [branch.shots, branch.opening, branch.shot],
        "returned": branch.returned,
    }
    told["pages"] = [_told(page) for page in pages]
    tensors: dict[str, Tensor] = {}
    for i, page in enumerate(pages):
        for part, stored in (("keys", page.keys), ("values", page.values)):
            if isinstance(stored, Coded):
                tensors |= {f"{CODES}{i}.{part}.{place}": one for place, one in enumerate(stored.parts)}
            else:
                tensors[f"{PAGES}{i}.{part}"] = stored
    return tensors, told


def _told(page: Page) -> list[str | int | None]:
    """Of a page; one that is kept in codes tells of which codec."""
    told = [page.id, page.start, page.turned, page.route and page.route.value]
    return told if (codec := codec_name(page.keys)) is None else [*told, codec]


def branch_of(
    snapshot: Snapshot,
    told: Any,
    config: MemoryConfig,
    shape: Sequence[int],
    dtypes: Sequence[torch.dtype],
) -> Branch:
    """The branch that ``tensors_of`` told of, with its pages on the host; it holds nothing yet.

    Args:
        told: of the branch, from the snapshot's metadata.
        config: the rules that it followed.
        shape: of a page's keys.
        dtypes: that pages may be kept in.

    Raises:
        CheckpointError: or any of ``DAMAGED``: it is not what a dump makes.
    """
    pages = []
    for i, (id, start, turned, route, *codec) in enumerate(told["pages"]):
        keys, values = (_stored(snapshot, f"{i}.{part}", shape, dtypes, *codec) for part in ("keys", "values"))
        packed = snapshot.packed.get(f"{PAGES}{i}.keys")
        if packed is not None:  # it holds something else now
            id = content_id(id, "four bits", packed.group, packed.dtype)
        at = None if turned is None else _number(turned)
        pages.append(Page(_number(start), keys, values, _text(id), route and Route(route), at))
    parts = {part: tuple(pages[_number(i)] for i in told[part]) for part in ("sinks", "recalled", "window")}
    shelf = tuple((_text(scene), pages[_number(i)]) for scene, i in told["shelf"])
    gone = None
    if told["eviction"] is not None:
        start, route, outcome, slot = told["eviction"]
        gone = Eviction(_number(start), Route(route), Route(outcome), None if slot is None else _number(slot))
    chunks, since = _number(told["chunks"]), _number(told["since"])
    shots, opening, shot = told.get("shot", (0, False, None))
    shown = {"shots": _number(shots), "opening": opening is True, "shot": None if shot is None else _number(shot)}
    returned = told.get("returned", bool(parts["recalled"])) is True
    if (
        "returned" not in told
        and not returned
        and shelf
        and shelf[-1][1].start in {one.start for one in parts["window"]}
    ):
        warn(
            "an older version wrote this memory: if its scene had returned, the scene's first chunk will not be read on"
        )
    branch = Branch(chunks=chunks, since=since, eviction=gone, shelf=shelf, returned=returned, **parts, **shown)
    _check(branch, config)
    return branch


def _stored(
    snapshot: Snapshot, name: str, shape: Sequence[int], dtypes: Sequence[torch.dtype], codec: str | None = None
) -> Stored:
    """Keys or values of a page. Raises ``CheckpointError`` where they are not what the model makes."""
    layers, *rest = shape
    if codec is None:
        stored: Stored = snapshot.tensor(f"{PAGES}{name}")
        fits = tuple(stored.shape) == tuple(shape) and stored.dtype in dtypes
    else:
        known = codec_called(codec)
        layout = [((layers, *part), dtype) for part, dtype in known.layout(*rest)]
        parts = tuple(snapshot.tensor(f"{CODES}{name}.{place}") for place in range(len(layout)))
        stored = Coded(known, torch.Size(shape), dtypes[0], parts)
        fits = [(tuple(part.shape), part.dtype) for part in parts] == layout
    if not fits:
        found = [f"{list(one.shape)} in {one.dtype}" for one in tensors_in(stored)]
        raise CheckpointError(
            f"the {snapshot.words.noun} has {name.rpartition('.')[2]} of {', '.join(found)}, and the model makes"
            f" {list(shape)}: load it into the model that made it"
        )
    return stored


def _check(branch: Branch, config: MemoryConfig) -> None:
    """Raises ``ValueError`` for a branch that no memory of these rules has."""
    each, end = config.chunk, branch.chunks * config.chunk
    if branch.since > branch.chunks or any(page.start % each or page.start >= end for page in branch.held):
        raise ValueError("a page lies outside the video")
    too_many = len(branch.window) > config.local_chunks or len(branch.sinks) * each > config.max_sink
    if too_many or len(branch.recalled) > 1 or len(branch.shelf) > config.recall:
        raise ValueError("more pages than memory keeps")


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < LONGEST:
        raise ValueError("a number that cannot be")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("a text that is none")
    return value
