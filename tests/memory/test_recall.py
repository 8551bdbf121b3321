"""What is kept aside of a scene, and when it is read again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from streamt1.core.errors import ConfigError
from streamt1.core.types import Route
from streamt1.memory import Branch, BranchingMemory, MemoryConfig
from streamt1.memory.recall import HOST, first_alone, recalled
from streamt1.memory.switch import emptied
from tests.memory.test_memory import make_memory, page, starts

A, D = Route.APPEND, Route.DISCARD


def told(memory: BranchingMemory, scenes: str, cut: bool = False) -> list[Branch]:
    """The branches after each chunk; a letter is a chunk of that scene."""
    branch, found, before = memory.start(), [], scenes[0]
    for chunk, scene in enumerate(scenes):
        old = branch
        if scene != before:
            branch = memory.held(recalled(emptied(branch) if cut else branch, scene, HOST))
            memory.release(old)
            old, before = branch, scene
        branch = memory.commit(branch, page(chunk, A if chunk == 1 else D), scene)
        memory.release(old)
        found.append(branch)
        memory.pool.check([branch.held])
    return found


def test_a_scene_that_returns_reads_its_first_chunk_again() -> None:
    branches = told(make_memory(recall=4), "AABBBCCCBBD")
    assert [starts(branch.recalled) for branch in branches] == [[]] * 8 + [[6], [6], []]
    assert starts(branches[8].pages) == [0, 3, 6, 21, 24], "behind the sinks, before the window"
    assert branches[8].remembered(3).sinks == (0, 1, 2)
    assert branches[8].id != branches[8 - 1].id


def test_what_is_still_read_is_not_read_twice() -> None:
    assert [starts(branch.recalled) for branch in told(make_memory(recall=4), "AABAA")] == [[]] * 5, "the sink"
    assert [starts(branch.recalled) for branch in told(make_memory(recall=4), "ABAB")] == [[]] * 4, "the window"


def test_what_leaves_the_window_while_its_scene_is_back_is_read_on() -> None:
    *_, back, last, other = told(make_memory(recall=4), "ABABBBBA")
    assert (starts(back.recalled), starts(back.sinks), 3 in starts(back.window)) == ([], [0, 3], False), "appended"
    found = told(make_memory(recall=4), "AACACCCCA")
    reads = [(starts(branch.recalled), 6 in starts(branch.window)) for branch in found]
    assert reads[3:] == [([], True), ([6], False), ([6], False), ([6], False), ([6], False), ([], False)]
    assert starts(last.recalled) == starts(other.recalled) == []
    held = [branch.remembered(3) for branch in found]
    assert [(one.recalled, one.left) for one in held[3:6]] == [(None, 1), (2, 2), (2, 3)]
    assert held[4].sinks == (0, 1, 2)
    first = told(make_memory(recall=4), "AACCCCCC")
    assert all(branch.recalled == () for branch in first), "a scene that is shown for the first time is not back"
    assert max(len(branch.pages) + 1 for branch in found) * 3 <= make_memory(recall=4).config.max_frames


def test_emptied_memory_keeps_what_was_put_aside() -> None:
    last = told(make_memory(recall=4), "AABBA", cut=True)[-1]
    assert (starts(last.recalled), starts(last.sinks), last.since) == ([0], [12], 4)


def test_the_scene_shown_longest_ago_is_let_go() -> None:
    memory = make_memory(recall=2)
    *_, before, last = told(memory, "AABBBACCCDDDB")
    assert [scene for scene, _ in before.shelf] == ["C", "D"]
    assert last.recalled == ()
    assert [scene for scene, _ in last.shelf] == ["D", "B"]


def test_without_recall_nothing_is_put_aside() -> None:
    assert all(not branch.shelf and branch.held == branch.pages for branch in told(make_memory(), "AABBBCCCBB"))


def test_room_is_planned_for_what_is_recalled() -> None:
    memory = make_memory(recall=3)
    most = max(len(branch.pages) for branch in told(memory, "AABBBCCCBBCCDDDA"))
    assert 3 * (most + 1) <= memory.config.max_frames == MemoryConfig().max_frames + 3


def test_a_page_goes_to_a_device_as_it_is() -> None:
    there = page(1).at(torch.device("meta"))
    assert there.keys.device.type == there.values.device.type == "meta"
    assert page(1).id == there.id
    same = page(1)
    assert same.at(HOST) is same


def test_a_number_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="recall=-1 must be at least 0 scenes"):
        make_memory(recall=-1)


def test_the_first_chunk_alone_is_the_scenes_where_scenes_are_put_aside() -> None:
    branches = told(make_memory(recall=4), "AABBBCCCBBD")
    assert [starts(first_alone(branches[at], scene).pages) for at, scene in ((4, "B"), (9, "B"), (1, "A"))] == [
        [6],
        [6],
        [0],
    ]
    assert first_alone(branches[1], "B") is branches[1], "a scene that has none yet reads all"
    there = branches[4].window[0]
    aside = replace(branches[4], shelf=(("B", there.brought(HOST)),))
    assert first_alone(aside, "B").sinks == (there,), "and not the copy of it on the host"
    assert starts(first_alone(told(make_memory(), "AABBB")[-1], "B").pages) == [0]
