"""The state machine of memory sinking (SPEC section 5), on pages whose content says where they came from."""

from __future__ import annotations

import pytest
import torch

from streamt1.core.errors import ConfigError, MemoryIntegrityError
from streamt1.core.types import Route
from streamt1.memory import Branch, BranchingMemory, MemoryConfig, Page, PagePool
from streamt1.memory.storage import Reading
from streamt1.memory.view import PageWriter, read

ALPHA = 0.9


def make_memory(**sizes: int) -> BranchingMemory:
    """Keys hold the chunk's start frame; moving them in time adds the shift, so positions can be read off."""
    return BranchingMemory(MemoryConfig(ema_alpha=ALPHA, **sizes), lambda keys, frames: keys + frames)


def page(chunk: int, route: Route | None = None) -> Page:
    content = torch.full((2, 3, 1, 1), 3.0 * chunk)
    return Page(3 * chunk, content, content.clone(), f"chunk {chunk}", route)


def grown(memory: BranchingMemory, routes: list[Route | None]) -> Branch:
    branch = memory.start()
    for chunk, route in enumerate(routes):
        parent, branch = branch, memory.commit(branch, page(chunk, route))
        memory.release(parent)
    return branch


def starts(pages: tuple[Page, ...]) -> list[int]:
    return [p.start for p in pages]


D, E, A = Route.DISCARD, Route.EMA, Route.APPEND


def test_nothing_leaves_before_the_window_is_full() -> None:
    memory = make_memory()
    branch = grown(memory, [None, D, D])
    assert (starts(branch.sinks), starts(branch.window), branch.eviction) == ([0], [3, 6], None)


def test_discard() -> None:
    branch = grown(make_memory(), [None, D, D, D])
    assert (starts(branch.sinks), starts(branch.window)) == ([0], [6, 9])
    assert branch.eviction is not None
    assert (branch.eviction.start, branch.eviction.outcome, branch.eviction.slot) == (3, D, None)


def test_ema_blends_into_the_sink_at_the_sinks_position() -> None:
    sink = grown(make_memory(), [None, E, D, D]).sinks[0]
    assert sink.start == 0
    assert torch.allclose(sink.values, torch.tensor((1 - ALPHA) * 3.0))
    assert torch.allclose(sink.keys, torch.tensor(0.0))  # 0.1 * (3 moved by -3)


def test_append_keeps_its_place_and_grows_the_capacity() -> None:
    branch = grown(make_memory(), [None, A, D, D])
    assert (starts(branch.sinks), starts(branch.window)) == ([0, 3], [6, 9])
    branch = grown(make_memory(), [None, A, E, D, D])
    assert (starts(branch.sinks), starts(branch.window)) == ([0, 3], [9, 12])
    assert torch.allclose(branch.sinks[0].values, torch.tensor(0.0)), "the newest slot takes the blend"
    assert torch.allclose(branch.sinks[1].values, torch.tensor(ALPHA * 3.0 + (1 - ALPHA) * 6.0))


def test_append_to_a_full_sink_is_blended() -> None:
    branch = grown(make_memory(max_sink=6), [None, A, A, D, D])
    assert starts(branch.sinks) == [0, 3]
    assert branch.eviction is not None
    assert (branch.eviction.route, branch.eviction.outcome, branch.eviction.slot) == (A, E, 1)


def test_a_window_without_sink_drops_whatever_the_route() -> None:
    branch = grown(make_memory(window=9, sink=0, max_sink=0), [E, A, E, A])
    assert (starts(branch.sinks), starts(branch.window)) == ([], [6, 9])


def test_a_sink_of_two_chunks() -> None:
    branch = grown(make_memory(window=12, sink=6), [None, None, D, D])
    assert (starts(branch.sinks), starts(branch.window)) == ([0, 3], [9])


def test_the_branch_never_holds_more_than_it_may() -> None:
    memory = make_memory()
    branch = memory.start()
    for chunk in range(40):
        branch = memory.commit(branch, page(chunk, A if chunk else None))
        assert 3 * (len(branch.pages) + 1) <= memory.config.max_frames
    assert memory.config.max_frames == 24


def test_a_child_does_not_change_its_parent() -> None:
    memory = make_memory()
    parent = grown(memory, [None, E, D])
    before = parent.pages
    content = parent.sinks[0].values.clone()
    memory.commit(parent, page(3, D))
    assert parent.pages == before
    assert torch.equal(parent.sinks[0].values, content)


def test_siblings_share_all_pages_but_their_own() -> None:
    """Eight children of one parent: the pool grows by eight chunks, not by eight memories."""
    memory = make_memory()
    parent = grown(memory, [None, D, D])
    one = parent.window[0].nbytes
    before, held = memory.pool.nbytes, memory.pool.live
    children = [memory.commit(parent, page(3, D)) for _ in range(8)]
    assert memory.pool.live == held + 8
    assert memory.pool.nbytes == before + 8 * one
    memory.pool.check([parent.pages, *(child.pages for child in children)])


def test_released_pages_are_forgotten() -> None:
    memory = make_memory()
    parent = grown(memory, [None, D, D])
    children = [memory.commit(parent, page(3, D)) for _ in range(3)]
    memory.release(parent)
    for child in children[1:]:
        memory.release(child)
    memory.pool.check([children[0].pages])
    assert memory.pool.live == len(children[0].pages)
    memory.release(children[0])
    assert (memory.pool.live, memory.pool.nbytes) == (0, 0)


def test_the_integrity_check_finds_a_leak_and_a_double_release() -> None:
    pool, one = PagePool(), page(0)
    pool.hold([one])
    with pytest.raises(MemoryIntegrityError, match="frames"):
        pool.check([])
    pool.drop([one])
    with pytest.raises(MemoryIntegrityError, match="more often"):
        pool.drop([one])


def test_sinks_are_kept_in_float32_where_a_small_ema_step_would_vanish() -> None:
    """SPEC section 9, item 3: in bfloat16, 100 updates of 0.1% move 2.3% instead of 9.5%."""
    memory = BranchingMemory(MemoryConfig(ema_alpha=0.999), lambda keys, frames: keys)
    branch = memory.start()
    for chunk in range(103):
        content = torch.full((1, 3, 1, 1), 0.0 if chunk == 0 else 1.0, dtype=torch.bfloat16)
        branch = memory.commit(branch, Page(3 * chunk, content, content, f"chunk {chunk}", E if chunk else None))
    assert branch.sinks[0].values.dtype is torch.float32
    assert branch.sinks[0].values.mean().item() == pytest.approx(1 - 0.999**100, rel=1e-3)


def narrow(chunk: int, route: Route | None) -> Page:
    """A page in 16 bits, of values that an EMA rounds."""
    content = torch.linspace(chunk, chunk + 1, 6, dtype=torch.float32).view(2, 3, 1, 1).bfloat16()
    return Page(3 * chunk, content, content.clone(), f"chunk {chunk}", route)


def test_a_slot_that_another_is_put_behind_is_kept_as_it_is_read() -> None:
    memory = BranchingMemory(MemoryConfig(ema_alpha=ALPHA), lambda keys, frames: keys)
    parent = memory.start()
    for chunk, route in enumerate((None, E, A, D)):
        parent = memory.commit(parent, narrow(chunk, route))
    assert parent.sinks[0].keys.dtype is torch.float32
    children = [memory.commit(parent, narrow(4, D)) for _ in range(2)]
    for child in children:
        assert starts(child.sinks) == [0, 6]
        assert {page.keys.dtype for page in child.pages} == {torch.bfloat16}
    assert children[0].sinks[0] is children[1].sinks[0], "cast once, and shared"
    assert children[0].sinks[0].id == parent.sinks[0].id
    for layer in (0, 1):
        before, after = (
            read(Branch(sinks=branch.sinks[:1]), layer, Reading(torch.bfloat16)) for branch in (parent, children[0])
        )
        assert torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1])


def test_float32_slots_stay_what_they_are() -> None:
    memory = make_memory()
    parent = grown(memory, [None, E, A, D])
    assert memory.commit(parent, page(4, D)).sinks[0] is parent.sinks[0]


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"window": 10}, "window=10"),
        ({"sink": 4}, "sink=4"),
        ({"window": 3}, "window=3"),
        ({"max_sink": 0}, "max_sink=0"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes: dict[str, int], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MemoryConfig(**sizes)


def test_reading_and_writing_pages() -> None:
    branch = grown(make_memory(), [None, D])
    keys, values = read(branch, 1, Reading(torch.bfloat16))
    assert keys.shape == values.shape == (1, 6, 1, 1)
    assert keys.dtype is torch.bfloat16
    assert keys.flatten().tolist() == [0, 0, 0, 3, 3, 3]
    with pytest.raises(ValueError, match="nothing to read"):
        read(Branch(), 0, torch.float32)
    writer = PageWriter(start=6, layers=2)
    writer.write(0, torch.ones(3, 1, 1), torch.ones(3, 1, 1))
    with pytest.raises(ValueError, match="1 layers"):
        writer.page("chunk 2", D)
    writer.write(1, torch.ones(3, 1, 1), torch.ones(3, 1, 1))
    assert writer.page("chunk 2", D).keys.shape == (2, 3, 1, 1)
