"""Shots: which chunks stay, which leave, and where they stand in time; counted over random histories."""

from __future__ import annotations

import pytest
import torch

from streamt1.core.errors import ConfigError
from streamt1.memory import Branch, BranchingMemory, MemoryConfig, Page
from streamt1.memory.shots import opened
from streamt1.memory.switch import emptied


def rules(**changed) -> MemoryConfig:
    return MemoryConfig(**{"window": 12, "sink": 3, "max_sink": 3, "eviction": "discard", "switch": "shot", **changed})


def grown(memory: BranchingMemory, branch: Branch, chunks: int) -> Branch:
    for _ in range(chunks):
        start = branch.chunks * memory.config.chunk
        page = Page(start, torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2), f"chunk {branch.chunks}", None)
        after = memory.commit(branch, page)
        memory.release(branch)
        branch = after
    return branch


def held(branch: Branch) -> list[int]:
    return [page.start // 3 for page in branch.pages]


def test_the_chunk_that_begins_a_shot_stays_until_another_does() -> None:
    memory = BranchingMemory(rules(), lambda keys, by: keys)
    branch = grown(memory, memory.start(), 4)
    assert held(branch) == [0, 2, 3]
    branch = grown(memory, opened(branch), 1)
    assert held(branch) == [0, 3, 4]
    assert (branch.shots, branch.shot, branch.opening) == (1, 12, False)
    branch = grown(memory, branch, 3)
    assert held(branch) == [0, 4, 7]
    branch = grown(memory, opened(branch), 1)
    assert held(branch) == [0, 7, 8], "the shot before is the oldest of the window now, and has left"
    assert branch.eviction is not None
    assert branch.eviction.start == 12
    branch = grown(memory, branch, 5)
    assert held(branch) == [0, 8, 13]
    memory.pool.check([branch.held])


def test_shots_one_after_another() -> None:
    memory = BranchingMemory(rules(window=15), lambda keys, by: keys)
    branch = grown(memory, memory.start(), 3)
    for shot in range(4):
        branch = grown(memory, opened(branch), 1)
        assert (branch.shots, branch.shot) == (shot + 1, branch.chunks * 3 - 3)
    assert held(branch) == [0, 4, 5, 6]


def test_a_cut_forgets_the_shot_and_goes_on_counting() -> None:
    memory = BranchingMemory(rules(shot_offset=5), lambda keys, by: keys)
    branch = emptied(grown(memory, opened(grown(memory, memory.start(), 3)), 2))
    assert (branch.shots, branch.shot, branch.opening) == (1, None, False)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"window": 6}, "holds 1 of chunk=3"),
        ({"window": 9, "sink": 3}, "holds 2 of chunk=3"),
        ({"positions": "relative"}, "positions='absolute'"),
        ({"shot_offset": -1}, "shot_offset=-1"),
        ({"sink": 4}, "sink=4 must be a multiple of chunk=3"),
    ],
)
def test_rules_that_do_not_go_with_shots(changed: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        rules(**changed)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sink": 3, "max_sink": 3}, "set sink=0"),
        ({"max_sink": 3}, "set max_sink=0"),
        ({"eviction": "route"}, "set eviction='discard'"),
        ({"positions": "absolute"}, "set positions='relative'"),
        ({"recall": 2}, "set recall=0"),
        ({"switch": "recache"}, "switch='keep' or 'cut'"),
        ({"rebuild": "always"}, "is none of off, encoded, first"),
    ],
)
def test_rules_that_do_not_go_with_a_memory_that_is_written_anew(changed: dict, told: str) -> None:
    usual = {"window": 6, "sink": 0, "max_sink": 0, "eviction": "discard", "positions": "relative"}
    with pytest.raises(ConfigError, match=told):
        MemoryConfig(**{**usual, "rebuild": "encoded", **changed})
