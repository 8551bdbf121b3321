"""A branch of memory as named tensors and what is told of them, and back: for ``core.snapshot``.

Each page is there once, however often a branch holds it: the first chunk may be a sink and put aside for recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.identity import content_id
from streamt1.core.snapshot import PAGES, Snapshot
from streamt1.core.types import Route
from streamt1.memory.branch import Branch, Eviction, MemoryConfig
from streamt1.memory.pages import Page

LONGEST = 2**31
"""No video has so many latent frames."""
DAMAGED = (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError)
"""What reading raises where a snapshot is not what ``dump`` makes."""


def told_rules(config: MemoryConfig) -> dict[str, Any]:
    """The rules of a memory, by name."""
    return asdict(config)


def check_rules(snapshot: Snapshot, config: MemoryConfig) -> None:
    """Raises ``CheckpointError`` that names the rules which a snapshot's memory followed and this one does not."""
    made, usual = snapshot.metadata.get("rules"), told_rules(MemoryConfig())
    here = told_rules(config)
    if isinstance(made, dict):  # a rule that came later was followed at its default
        here = {name: rule for name, rule in here.items() if name in made or rule != usual[name]}
    snapshot.check_same("rules", here, "under other rules of memory", "load it where `memory` is set as it was there")


def tensors_of(branch: Branch) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a branch holds: keys and values ``[layers, L, heads, head_dim]`` of its pages by name, and all else."""
    numbers: dict[tuple[str, torch.dtype], int] = {}
    pages: list[Page] = []

    def number(page: Page) -> int:
        key = page.id, page.keys.dtype
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
    }
    told["pages"] = [[page.id, page.start, page.turned, page.route and page.route.value] for page in pages]
    tensors = {f"{PAGES}{i}.{part}": getattr(page, part) for i, page in enumerate(pages) for part in ("keys", "values")}
    return tensors, told


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
    for i, (id, start, turned, route) in enumerate(told["pages"]):
        keys, values = (snapshot.tensor(f"{PAGES}{i}.{part}") for part in ("keys", "values"))
        if not tuple(keys.shape) == tuple(values.shape) == tuple(shape) or {keys.dtype, values.dtype} - {*dtypes}:
            raise CheckpointError(
                f"the {snapshot.words.noun} has keys of {list(keys.shape)} in {keys.dtype}, and the model makes"
                f" {list(shape)}: load it into the model that made it"
            )
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
    branch = Branch(chunks=chunks, since=since, eviction=gone, shelf=shelf, **parts, **shown)
    _check(branch, config)
    return branch


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
