"""Branches as tensors and told, and back: shared pages once, holders counted, damage refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.core.errors import CheckpointError, StreamT1Warning
from streamt1.core.snapshot import Snapshot
from streamt1.core.types import Route
from streamt1.memory import Branch, BranchingMemory, MemoryConfig, Page
from streamt1.memory.portable import DAMAGED, branch_of, check_rules, tensors_of, told_rules
from streamt1.memory.recall import HOST, recalled
from tests.memory.test_memory import grown, make_memory, page, starts
from tests.memory.test_recall import told

D, E, A = Route.DISCARD, Route.EMA, Route.APPEND
SHAPE = (2, 3, 1, 1)


def snapshot_of(branch: Branch, config: MemoryConfig) -> Snapshot:
    tensors, told = tensors_of(branch)
    return Snapshot("toy", tensors, {"memory": told, "rules": told_rules(config)})


def taken_in(memory: BranchingMemory, snapshot: Snapshot, told: Any = None) -> Branch:
    told = snapshot.metadata["memory"] if told is None else told
    dtypes = (torch.float32, torch.bfloat16)
    return memory.taken_in(branch_of(snapshot, told, memory.config, SHAPE, dtypes), lambda page: page)


def through_a_file(memory: BranchingMemory, branch: Branch, folder: Path) -> Branch:
    return taken_in(memory, Snapshot.read(snapshot_of(branch, memory.config).write(folder / "a.safetensors")))


def same(one: Branch, other: Branch) -> bool:
    """Whether both remember the same."""
    told = [(b.chunks, b.since, b.eviction, b.returned, [scene for scene, _ in b.shelf]) for b in (one, other)]
    pairs = list(zip(one.held, other.held, strict=True))
    return told[0] == told[1] and all(
        (a.id, a.start, a.turned, a.route, a.keys.dtype) == (b.id, b.start, b.turned, b.route, b.keys.dtype)
        and torch.equal(a.keys, b.keys)
        and torch.equal(a.values, b.values)
        for a, b in pairs
    )


@pytest.mark.parametrize(
    "routes", [[], [None], [None, E, D, D], [None, A, E, D, D], [None, A, A, E, E, A, D], [E, E, E, E, E]], ids=str
)
def test_a_branch_comes_back_as_it_went(routes: list[Route | None], tmp_path: Path) -> None:
    there, here = make_memory(), make_memory()
    branch = grown(there, routes)
    found = through_a_file(here, branch, tmp_path)
    assert same(branch, found)
    assert branch.id == found.id
    for chunk, route in enumerate([A, E, None, D], len(routes)):
        branch, found = (memory.commit(b, page(chunk, route)) for memory, b in ((there, branch), (here, found)))
        assert same(branch, found)


def shelved(memory: BranchingMemory) -> Branch:
    """Its first chunk is a sink, and stands on the shelf with that of another scene, which is read again."""
    branch = memory.start()
    for chunk in range(7):
        scene = "AABBAAA"[chunk]
        if chunk in (2, 4):
            branch = recalled(branch, scene, HOST)
        branch = memory.commit(branch, page(chunk, D), scene)
    return memory.held(recalled(branch, "B", HOST))


def test_pages_that_are_held_twice_are_there_once(tmp_path: Path) -> None:
    memory, here = make_memory(recall=3), make_memory(recall=3)
    branch = shelved(memory)
    assert (starts(branch.sinks), starts(branch.recalled), starts(branch.window)) == ([0], [6], [15, 18])
    snapshot = snapshot_of(branch, memory.config)
    assert len(snapshot.tensors) == 2 * 4
    assert len(branch.held) == 6
    found = taken_in(here, Snapshot.read(snapshot.write(tmp_path / "a.safetensors")))
    assert same(branch, found)
    shelf = dict(found.shelf)
    assert found.sinks[0] is shelf["A"]
    assert found.recalled[0] is shelf["B"]
    assert (here.pool.live, here.pool.nbytes) == (4, 4 * page(0).nbytes)
    here.pool.check([found.held])
    here.release(found)
    assert here.pool.live == 0


def test_a_scene_that_is_back_is_read_on_elsewhere(tmp_path: Path) -> None:
    """Its first chunk is still in the window when the branch leaves; older versions did not tell that it is back."""
    rules: dict[str, Any] = {"recall": 4, "window": 18}
    there, here, older = make_memory(**rules), make_memory(**rules), make_memory(**rules)
    branch = told(there, "AACAC")[-1]
    assert (branch.returned, branch.recalled, 6 in starts(branch.window)) == (True, (), True)
    snapshot = snapshot_of(branch, there.config)
    found = through_a_file(here, branch, tmp_path)
    before = {key: value for key, value in snapshot.metadata["memory"].items() if key != "returned"}
    with pytest.warns(StreamT1Warning, match="will not be read on"):
        early = taken_in(older, snapshot, before)
    for chunk in range(5, 11):
        branch, found, early = (
            memory.commit(one, page(chunk, D), "C") for memory, one in ((there, branch), (here, found), (older, early))
        )
        assert same(branch, found)
    assert (starts(found.recalled), starts(early.recalled)) == ([6], [])


def test_loaded_branches_share_what_is_the_same(tmp_path: Path) -> None:
    """With each other, and with branches that never left; each holds its own share."""
    memory = make_memory()
    parent = grown(memory, [None, E, A, D])
    children = [memory.commit(parent, replace(page(4, D), id=name)) for name in ("one", "other")]
    here = make_memory()
    found = [through_a_file(here, child, tmp_path) for child in children]
    assert here.pool.live == len({page.id for child in children for page in child.pages})
    here.pool.check([one.held for one in found])
    here.release(found[0])
    here.pool.check([found[1].held])
    live = memory.pool.live
    again = through_a_file(memory, parent, tmp_path)
    assert memory.pool.live == live
    assert again.pages == parent.pages
    memory.pool.check([parent.held, again.held, *(child.held for child in children)])


def test_a_page_of_one_name_that_holds_something_else_is_named_anew() -> None:
    memory = make_memory()
    own = grown(memory, [None, D])
    other = replace(own, window=(replace(own.window[0], keys=own.window[0].keys + 1e-6),))
    first, second = (taken_in(memory, snapshot_of(other, memory.config)) for _ in range(2))
    assert first.window[0].id != own.window[0].id
    assert first.sinks == own.sinks
    assert first.window == second.window, "it shares with those of its own kind"
    memory.pool.check([own.held, first.held, second.held])


def test_a_slot_that_is_kept_wide_and_narrow_is_two_pages() -> None:
    """A blended sink in float32, and the same as it is read: one name, two contents."""
    wide = Page(0, torch.rand(SHAPE), torch.rand(SHAPE), "same")
    branch = Branch(sinks=(wide.kept_in(torch.bfloat16), wide), chunks=1)
    tensors, told = tensors_of(branch)
    assert told["sinks"] == [0, 1]
    assert [tensor.dtype for tensor in tensors.values()] == [torch.bfloat16] * 2 + [torch.float32] * 2


def test_four_bits_have_another_name_than_what_they_stand_for() -> None:
    """Otherwise a blend of them would be taken for a blend of the original."""
    wide = (2, 3, 1, 8)
    one = Page(0, torch.rand(wide), torch.rand(wide), "original")
    memory = make_memory()
    own = memory.commit(memory.start(), one)
    small = snapshot_of(own, memory.config).in_four_bits()
    found = branch_of(small, small.metadata["memory"], memory.config, wide, (torch.float32,))
    assert found.sinks[0].id not in ("original", "")
    assert (found.sinks[0].keys - one.keys).abs().max() == pytest.approx(small.packed["pages.0.keys"].lost.largest)


def test_other_rules_are_named() -> None:
    snapshot = snapshot_of(Branch(), MemoryConfig(window=18, ema_alpha=0.9))
    check_rules(snapshot, MemoryConfig(window=18, ema_alpha=0.9))
    with pytest.raises(CheckpointError) as told:
        check_rules(snapshot, MemoryConfig(positions="relative"))
    assert str(told.value) == (
        "the snapshot was made under other rules of memory (ema_alpha is 0.9 there and 0.999 here, positions is"
        " absolute there and relative here, window is 18 there and 12 here): load it where `memory` is set as it was"
        " there"
    )


def test_a_rule_that_came_later_was_followed_at_its_default() -> None:
    older = told_rules(MemoryConfig())
    del older["recall"]
    snapshot = Snapshot("toy", {}, {"rules": older})
    check_rules(snapshot, MemoryConfig())
    with pytest.raises(CheckpointError, match="recall is missing there and 2 here"):
        check_rules(snapshot, MemoryConfig(recall=2))


BROKEN: list[tuple[str, Any]] = [
    ("chunks", -1), ("chunks", 2**40), ("chunks", 1), ("chunks", True), ("chunks", "7"), ("since", 9), ("sinks", [9]),
    ("sinks", [-1]), ("sinks", None), ("window", [0] * 9), ("sinks", [0] * 9), ("recalled", [0, 1]),
    ("shelf", [["A", 0]] * 9), ("shelf", [[5, 0]]), ("shelf", [0]), ("eviction", []), ("eviction", [0, "x", "ema", 0]),
    ("eviction", [0, "ema", "ema", -1]), ("pages", [["a", 0, None, "lost"]]), ("pages", [[5, 0, None, None]]),
    ("pages", [["a", 1, None, None]]), ("pages", [["a", 0, -3, None]]), ("pages", [["a", 0, None, None]] * 9),
    ("pages", 5), ("pages", [["a", 10**30, None, None]]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BROKEN, ids=str)
def test_what_no_memory_tells_is_refused(name: str, value: Any) -> None:
    memory = make_memory(recall=3)
    snapshot = snapshot_of(shelved(memory), memory.config)
    told = copy.deepcopy(dict(snapshot.metadata["memory"]))
    told[name] = value
    here = make_memory(recall=3)
    with pytest.raises((CheckpointError, *DAMAGED)):
        taken_in(here, snapshot, told)
    assert here.pool.live == 0


def test_pages_of_another_shape_are_refused() -> None:
    memory = make_memory()
    snapshot = snapshot_of(grown(memory, [None]), memory.config)
    with pytest.raises(CheckpointError, match=r"keys of \[2, 3, 1, 1\] in torch\.float32, and the model makes \[9, 3"):
        branch_of(snapshot, snapshot.metadata["memory"], memory.config, (9, 3, 1, 1), (torch.float32,))
    with pytest.raises(CheckpointError, match=r"in torch\.float32"):
        branch_of(snapshot, snapshot.metadata["memory"], memory.config, SHAPE, (torch.bfloat16,))
