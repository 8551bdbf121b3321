"""What attention reads of the past: turned queries, and heads that read nothing of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.attention import attention, naive_prefix_attention, shared_prefix_attention
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.backbones.wan.past import PastReader
from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError
from streamt1.core.types import Route
from streamt1.memory import MemoryConfig
from streamt1.memory.codecs import rotation_on
from tests.backbones.test_wan import TINY, denoised, tiny_backbone

A, E = Route.APPEND, Route.EMA
HALF = torch.tensor(500.0)


def remembering(**rules: object) -> tuple[WanBackbone, list[WanBranch]]:
    """A tiny model, and two branches that parted after their first chunk."""
    backbone = tiny_backbone().with_memory(replace(MemoryConfig(), **rules))  # type: ignore[arg-type]
    root = backbone.commit(backbone.start("a"), denoised(backbone, [backbone.start("a")], [0])[0], None)
    branches = []
    for seed in (1, 2):
        branch = root
        for chunk in range(5):
            latents = denoised(backbone, [branch], [10 * seed + chunk])[0]
            branch = backbone.commit(branch, latents, (E, A)[chunk % 2])
        branches.append(branch)
    return backbone, branches


def test_a_branch_that_remembers_nothing_beside_one_that_does() -> None:
    """A window of one chunk and no sink: what was dropped leaves nothing, what was appended a sink."""
    backbone = tiny_backbone().with_memory(MemoryConfig(window=3, sink=0, max_sink=6))
    root = backbone.commit(backbone.start("a"), denoised(backbone, [backbone.start("a")], [0])[0], None)
    latents = denoised(backbone, [root], [1])[0]
    without, with_sink = (backbone.commit(root, latents, route) for route in (Route.DISCARD, A))
    assert (len(without.memory.pages), len(with_sink.memory.pages)) == (0, 1)
    alone = [denoised(backbone, [branch], [2])[0] for branch in (without, with_sink)]
    assert not torch.allclose(*alone, atol=1e-3)
    for order in ([0, 1], [1, 0], [1, 0, 1]):
        branches = [(without, with_sink)[one] for one in order]
        for one, found in zip(order, denoised(backbone, branches, [2] * len(order))):
            assert torch.allclose(found, alone[one], atol=1e-4)


def test_nothing_is_written_again_where_the_windows_only_chunk_is_a_sink() -> None:
    backbone = tiny_backbone().with_memory(MemoryConfig(window=6, sink=3, max_sink=9, switch="recache"))
    branch = backbone.start("a")
    for chunk in range(3):
        branch = backbone.commit(branch, denoised(backbone, [branch], [chunk])[0], A if chunk else None)
    done = backbone.switch(branch, "b", None)
    assert (done.passes, done.rewritten) == (0, ())
    assert done.branch.memory.pages == branch.memory.pages


def parts(count: int, tokens: int, seed: int) -> torch.Tensor:
    return torch.randn(count, tokens, TINY.num_heads, TINY.head_dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 3])
def test_turned_queries_read_a_turned_prefix(count: int) -> None:
    q, k, v = (parts(count, 7, seed) for seed in range(3))
    keys, values = parts(1, 20, 3), parts(1, 20, 4)
    turn = rotation_on(TINY.head_dim, torch.float32, q.device)
    seen = shared_prefix_attention(q, k, v, keys @ turn.T, values @ turn.T, turn=turn)
    assert torch.allclose(seen, naive_prefix_attention(q, k, v, keys, values), atol=1e-5)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
@pytest.mark.parametrize("bits", [16, 4])
def test_heads_without_a_past(bits: int, positions: str) -> None:
    """They read their own chunk, and the others what they read before; on the device's copies as from home."""
    backbone, branches = remembering(bits=bits, positions=positions)
    local = ((0, 1), (1, 0), (1, 1))
    other = backbone.with_memory(replace(backbone.memory.config, local_heads=local))
    q, k, v = (parts(2, 6 * 3, seed) for seed in range(3))
    memories = [branch.memory for branch in branches]
    plain, cut = backbone._past.attend(memories), other._past.attend(memories)
    for layer in range(TINY.num_layers):
        near, whole, seen = attention(q, k, v), plain(layer, q, k, v), cut(layer, q, k, v)
        for head in range(TINY.num_heads):
            expected = near if (layer, head) in local else whole
            assert torch.allclose(seen[:, :, head], expected[:, :, head], atol=1e-6)
            assert not torch.allclose(near[:, :, head], whole[:, :, head], atol=1e-3)


def test_turning_queries_is_turning_keys() -> None:
    """Memory in codes as it is read, beside the same memory decoded before it is read."""
    backbone, branches = remembering(bits=4)
    noise = torch.randn(2, *backbone.chunk_shape, generator=torch.Generator().manual_seed(0))
    flow = backbone.flow(branches, noise, HALF)
    alone = torch.cat([backbone.flow([branch], noise[i : i + 1], HALF) for i, branch in enumerate(branches)])
    assert torch.allclose(flow, alone, atol=1e-5)

    class Turning(MemoryConfig):
        turned = False  # type: ignore[assignment]

    backbone._past._rules = Turning(bits=4)
    assert torch.allclose(backbone.flow(branches, noise, HALF), flow, atol=1e-4)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_candidates_whose_parents_remember_more_or_less(positions: str) -> None:
    """Three parents, of which the second alone has kept a sink: each stands behind what its own parent remembers."""
    backbone, _ = remembering(positions=positions)
    parents = []
    for seed, routes in ((1, (E, E, E)), (2, (A, A, E)), (3, (E, E, E))):
        branch = backbone.commit(backbone.start("a"), denoised(backbone, [backbone.start("a")], [0])[0], None)
        for chunk in range(6):
            latents = denoised(backbone, [branch], [10 * seed + chunk])[0]
            branch = backbone.commit(branch, latents, routes[chunk % 3])
        parents.append(branch)
    assert len({len(parent.memory.pages) for parent in parents}) == 2
    together = denoised(backbone, parents, [7, 8, 9])
    alone = torch.cat([denoised(backbone, [parent], [seed]) for parent, seed in zip(parents, (7, 8, 9))])
    assert torch.allclose(together, alone, atol=1e-5)
    if positions == "relative":
        with pytest.raises(ValueError, match="at one place"):
            backbone.flow(parents, torch.zeros(3, *backbone.chunk_shape), HALF)


def test_heads_are_configured() -> None:
    config = load_config("pocket", {"memory.local_heads": [[5, 0], [4, 0]]})
    assert config.memory.local_heads == ((5, 0), (4, 0))
    for wrong, words in (
        ([[5]], "."),
        ([[0, -1]], "must be pairs"),
        ([[0, 1], [0, 1]], "names a head twice"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config("pocket", {"memory.local_heads": wrong})
    with pytest.raises(ConfigError, match="head 0 of layer 2: this model has 2 layers of 2 heads, both counted from 0"):
        tiny_backbone().with_memory(MemoryConfig(local_heads=((2, 0),)))


def test_heads_that_do_not_fill_bytes_are_refused() -> None:
    """As soon as the model has that memory, and not with its first chunk."""
    sizes = replace(TINY, dim=6 * TINY.num_heads)
    PastReader(sizes, MemoryConfig(bits=4), None)
    with pytest.raises(ConfigError, match=r"memory\.bits=2 packs 4 numbers a byte, and this model's heads have 6"):
        PastReader(sizes, MemoryConfig(bits=2), None)


def test_a_corrected_chunk_reads_the_first_alone_and_then_all() -> None:
    """Two models that differ in that pass only: the one that reads all both times lands elsewhere."""
    backbone, [branch, _] = remembering(corrected=(500, 250))
    assert (backbone.steps, backbone.draws, backbone.first_steps, backbone.first_draws) == (6, 5, 4, 3)
    asked = []
    plain = backbone.flow

    def flow(parents: list[WanBranch], x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        asked.append([page.start for page in parents[0].memory.pages])
        return plain(parents, x, timestep)

    backbone.flow = flow  # type: ignore[method-assign]
    denoised(backbone, [branch], [0])
    every = [page.start for page in branch.memory.pages]
    assert asked == [every, every, every[:1], every, every[:1], every]
    assert backbone.with_memory(MemoryConfig()).steps == 4


def test_corrections_follow_the_schedule() -> None:
    tiny = tiny_backbone()
    with pytest.raises(ConfigError, match=r"corrected=\(250,\), and the schedule's are \(500,\)"):
        WanBackbone(tiny.model, tiny.encode_text, (8, 8), MemoryConfig(corrected=(250,)), Schedule(corrected=(500,)))
    with pytest.raises(ConfigError, match=r"corrected=\(500,\) reads the first chunk alone.*set sink=3"):
        MemoryConfig(sink=0, max_sink=0, corrected=(500,))
    assert MemoryConfig(sink=0, max_sink=0, recall=1, corrected=(500,)).recall
    with pytest.raises(ConfigError, match=r"memory\.corrected=\(600,\) must be some of the steps"):
        tiny_backbone().with_memory(MemoryConfig(corrected=(600,)))
