"""The parts of the causal Wan backbone, on a tiny random model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from streamt1.backbones.wan.attention import attention, naive_prefix_attention, shared_prefix_attention
from streamt1.backbones.wan.backbone import WanBackbone, WanBranch
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.backbones.wan.rope import axis_pairs, grid_angles, rotate, shift_time
from streamt1.core.errors import ConfigError
from streamt1.core.protocols import steps_after
from streamt1.core.seeds import generator
from streamt1.core.types import Route
from streamt1.memory import DevicePages, MemoryConfig

TINY = WanConfig(dim=48, ffn_dim=64, num_layers=2, num_heads=2, in_channels=4, out_channels=4, text_dim=8, text_len=5)


def tiny_backbone(dtype: torch.dtype = torch.float32, size: tuple[int, int] = (4, 6)) -> WanBackbone:
    torch.manual_seed(0)
    text = torch.randn(1, TINY.text_len, TINY.text_dim)
    return WanBackbone(WanModel(TINY).eval().to(dtype), lambda prompt: text, size, MemoryConfig())


def denoised(backbone: WanBackbone, parents: list[WanBranch], seeds: list[int]) -> torch.Tensor:
    """Clean latents of one candidate a parent, from noise of its own seed."""
    x, fresh = noises(backbone, seeds)
    return backbone.denoise(parents, x, fresh, range(steps_after(backbone, parents[0])))[0]


def noises(backbone: WanBackbone, seeds: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Initial noise, and noise between the steps, of candidates."""
    shape = (1 + backbone.draws, *backbone.chunk_shape)
    drawn = torch.stack([torch.randn(shape, generator=generator(seed)) for seed in seeds])
    return drawn[:, 0], drawn[:, 1:]


def rolled(backbone: WanBackbone, chunks: int) -> WanBranch:
    branch = backbone.start("")
    for chunk in range(chunks):
        latents = denoised(backbone, [branch], [chunk])[0]
        parent, branch = branch, backbone.commit(branch, latents, (None, Route.EMA, Route.APPEND)[chunk % 3])
        backbone.release(parent)
    return branch


def test_axis_pairs_are_those_of_wan() -> None:
    assert axis_pairs(128) == (22, 21, 21)
    assert axis_pairs(24) == (4, 4, 4)


@pytest.mark.parametrize("to", [0, 7, 5000])
def test_shifted_keys_are_those_rotated_at_the_other_place(to: int) -> None:
    keys = torch.randn(1, 3 * 6, 2, 24)

    def at(start: int) -> torch.Tensor:
        angles = grid_angles(torch.arange(start, start + 3), (2, 3), 24)
        return rotate(keys, angles.cos().float(), angles.sin().float())

    assert torch.allclose(shift_time(at(4), to - 4), at(to), atol=1e-5)


def test_scores_depend_on_distance_only_also_past_1024_frames() -> None:
    q, k = torch.randn(2, 1, 6, 1, 24)

    def score(start: int) -> torch.Tensor:
        cos_sin = [grid_angles(torch.tensor([p]), (2, 3), 24) for p in (start, start + 5)]
        (a, b) = (rotate(x, angle.cos().float(), angle.sin().float()) for x, angle in zip((q, k), cos_sin))
        return torch.einsum("blhd,bmhd->blm", a, b)

    assert torch.allclose(score(0), score(100_000), atol=1e-4)


def test_shared_prefix_attention_agrees_with_its_slow_twin() -> None:
    for n in (1, 2, 5):
        q, k, v = torch.randn(3, n, 7, 2, 8)
        prefix_k, prefix_v = torch.randn(2, 1, 11, 2, 8)
        fast = shared_prefix_attention(q, k, v, prefix_k, prefix_v)
        assert torch.allclose(fast, naive_prefix_attention(q, k, v, prefix_k, prefix_v), atol=1e-6)


def test_keys_of_batch_one_are_shared() -> None:
    q, k, v = torch.randn(3, 7, 2, 8), torch.randn(1, 4, 2, 8), torch.randn(1, 4, 2, 8)
    assert torch.allclose(attention(q, k, v), attention(q, k.expand(3, -1, -1, -1), v.expand(3, -1, -1, -1)), atol=1e-6)


def test_a_batch_of_candidates_equals_one_at_a_time() -> None:
    backbone = tiny_backbone()
    branch = rolled(backbone, 5)
    together = denoised(backbone, [branch] * 3, [1, 2, 3])
    apart = torch.cat([denoised(backbone, [branch], [seed]) for seed in (1, 2, 3)])
    assert torch.allclose(together, apart, atol=1e-5)


def parents_apart(backbone: WanBackbone) -> list[WanBranch]:
    """Four candidates' parents: three branches of one length that remember different things."""
    root = rolled(backbone, 4)
    latents = denoised(backbone, [root] * 3, [11, 12, 13])
    first, second, third = (backbone.commit(root, one, Route.APPEND) for one in latents)
    return [first, second, second, third]


def test_candidates_of_several_parents_are_denoised_together() -> None:
    backbone = tiny_backbone()
    parents = parents_apart(backbone)
    together = denoised(backbone, parents, [1, 2, 3, 4])
    for index, parent in enumerate(parents):
        alone = denoised(backbone, [parent], [index + 1])[0]
        assert torch.allclose(together[index], alone, atol=1e-5)
    swapped = denoised(backbone, [parents[1]], [1])[0]
    assert not torch.allclose(together[0], swapped, atol=1e-2), "parents matter"


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("look", [1, 2, 3])
def test_denoising_in_two_calls_gives_the_same_bits_as_in_one(look: int, limit: int | None) -> None:
    """Also where the batch comes in parts, whose rows still are those of the whole."""
    backbone = tiny_backbone()
    parents, backbone.batch.limit = parents_apart(backbone), limit
    x, fresh = noises(backbone, [1, 2, 3, 4])
    whole, clean = backbone.denoise(parents, x, fresh, range(4))
    assert torch.equal(whole, clean), "after the last step the latents are the clean chunk"
    noisy, preview = backbone.denoise(parents, x, fresh, range(look))
    assert noisy.shape == preview.shape == x.shape
    assert torch.equal(backbone.denoise(parents, noisy, fresh, range(look, 4))[0], whole)


def test_those_that_go_on_keep_their_parents() -> None:
    backbone = tiny_backbone()
    parents = parents_apart(backbone)
    x, fresh = noises(backbone, [1, 2, 3, 4])
    whole, _ = backbone.denoise(parents, x, fresh, range(4))
    noisy, _ = backbone.denoise(parents, x, fresh, range(2))
    kept, _ = backbone.denoise([parents[1], parents[3]], noisy[[1, 3]], fresh[[1, 3]], range(2, 4))
    assert torch.allclose(kept, whole[[1, 3]], atol=1e-5)


def test_running_out_of_memory_changes_no_candidate() -> None:
    backbone, model = tiny_backbone(), WanModel.forward
    parents = parents_apart(backbone)
    whole = denoised(backbone, parents, [1, 2, 3, 4])

    def small(self: WanModel, latents: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(latents) > 2:
            raise torch.OutOfMemoryError("too many")
        return model(self, latents, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WanModel, "forward", small)
        parts = denoised(backbone, parents, [1, 2, 3, 4])
    assert torch.allclose(parts, whole, atol=1e-5)
    assert backbone.batch.limit == 2


def told(backbone: WanBackbone, chunks: int) -> WanBranch:
    """A branch that was given its chunks, as another machine would be."""
    branch = backbone.start("")
    for chunk in range(chunks):
        latents = torch.randn(backbone.chunk_shape, generator=generator(chunk))
        branch = backbone.commit(branch, latents, (None, Route.EMA, Route.APPEND)[chunk % 3])
    return branch


def test_a_page_is_named_by_its_content_the_same_in_every_process() -> None:
    first, second = (told(tiny_backbone(), 6).memory for _ in range(2))
    assert [page.id for page in first.pages] == [page.id for page in second.pages]
    assert len({page.id for page in first.pages}) == len(first.pages)
    script = "from tests.backbones.test_wan import *; print(told(tiny_backbone(), 6).memory.id)"
    root = Path(__file__).parents[2]
    there = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == first.id


def test_what_a_page_holds_decides_its_name() -> None:
    backbone = tiny_backbone()
    root = rolled(backbone, 2)
    latents = torch.randn(backbone.chunk_shape)
    names = [
        backbone.commit(parent, given, route).memory.window[-1].id
        for parent in (root, rolled(backbone, 3))
        for given in (latents, latents + 1)
        for route in (Route.EMA, None)
    ]
    names.append(backbone.commit(WanBranch(backbone.start("other").prompt, root.memory), latents, None).memory.id)
    assert len(set(names)) == len(names)
    assert backbone.commit(root, latents, Route.EMA).memory.window[-1].id == names[0]


def test_prompts_are_told_apart_by_their_text() -> None:
    backbone = tiny_backbone()
    one, same, other = (backbone.start(prompt) for prompt in ("a", "a", "b"))
    denoised(backbone, [one, same], [1, 2])
    with pytest.raises(ValueError, match="one prompt"):
        denoised(backbone, [one, other], [1, 2])


def test_inspecting_tells_memory_in_chunks() -> None:
    backbone = tiny_backbone()
    held = backbone.inspect(rolled(backbone, 5))
    assert (held.sinks, held.window) == ((0, 2), (3, 4))
    assert (held.left, held.route, held.outcome, held.slot) == (2, Route.APPEND, Route.APPEND, 1)
    assert backbone.inspect(backbone.start("")).sinks == ()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_blocks_give_the_same_numbers() -> None:
    plain, compiled = tiny_backbone(), tiny_backbone()
    compiled.model.compile_blocks()
    for width in (1, 3):
        ours, theirs = (denoised(b, [rolled(b, 2)] * width, list(range(width))) for b in (compiled, plain))
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_parents_of_two_lengths_are_not_denoised_together() -> None:
    backbone = tiny_backbone()
    parents = [rolled(backbone, 1), rolled(backbone, 2)]
    with pytest.raises(ValueError, match="one length"):
        denoised(backbone, parents, [1, 2])


def test_proposing_reads_memory_and_changes_nothing() -> None:
    backbone = tiny_backbone()
    branch = rolled(backbone, 5)
    pages = branch.memory.pages
    before = [(page.keys.clone(), page.values.clone()) for page in pages]
    live, nbytes = backbone.memory.pool.live, backbone.memory.pool.nbytes
    denoised(backbone, [branch] * 8, list(range(8)))
    assert (backbone.memory.pool.live, backbone.memory.pool.nbytes) == (live, nbytes)
    assert branch.memory.pages == pages
    assert all(torch.equal(p.keys, k) and torch.equal(p.values, v) for p, (k, v) in zip(pages, before))


def test_pages_at_another_place_read_the_same() -> None:
    """With room for copies and without; on the CPU both places are the same memory."""
    plain, apart = tiny_backbone(), tiny_backbone()
    for limit in (0.0, 1e9):
        apart._home, apart.copies = torch.device("cpu"), DevicePages(torch.device("cpu"), limit)
        ours, theirs = (denoised(b, [rolled(b, 5)] * 2, [1, 2]) for b in (apart, plain))
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("chunks", "blended"), [(2, 0), (3, 1)])
def test_eight_survivors_of_one_parent_add_their_own_chunks_only(chunks: int, blended: int) -> None:
    """With 2 chunks nothing leaves; with 3 an EMA does, and the eight share the one sink that it makes."""
    backbone = tiny_backbone()
    parent = rolled(backbone, chunks)
    pool, one = backbone.memory.pool, parent.memory.window[-1].nbytes
    assert one == 2 * TINY.num_layers * (3 * 2 * 3) * TINY.dim * 4, "K and V, layers, tokens, channels, float32"
    live, nbytes = pool.live, pool.nbytes
    latents = denoised(backbone, [parent] * 8, list(range(8)))
    children = [backbone.commit(parent, one_latents, Route.DISCARD) for one_latents in latents]
    assert pool.live - live == 8 + blended
    assert pool.nbytes - nbytes == (8 + blended) * one
    pool.check([parent.memory.pages, *(child.memory.pages for child in children)])


def test_the_same_inputs_give_the_same_bytes() -> None:
    first, second = tiny_backbone(), tiny_backbone()
    latents = [denoised(b, [rolled(b, 4)] * 2, [7, 8]) for b in (first, second)]
    assert torch.equal(*latents)


def test_bfloat16_follows_float32_and_keeps_blended_sinks_wide() -> None:
    wide, narrow = tiny_backbone(), tiny_backbone(torch.bfloat16)
    latents = denoised(wide, [rolled(wide, 5)], [1])
    close = denoised(narrow, [rolled(narrow, 5)], [1])
    assert close.dtype is torch.float32
    assert (close - latents).abs().mean() < 0.05
    blended, appended = rolled(narrow, 4).memory, rolled(narrow, 5).memory
    assert [page.keys.dtype for page in blended.pages] == [torch.float32, torch.bfloat16, torch.bfloat16]
    assert {page.keys.dtype for page in appended.pages} == {torch.bfloat16}, "a slot with one behind it stays as it is"


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="5x6"):
        tiny_backbone(size=(5, 6))
    with pytest.raises(ConfigError, match="dim=50"):
        WanConfig(dim=50, num_heads=4)
    with pytest.raises(ConfigError, match="patch_size"):
        WanConfig(patch_size=(2, 2, 2))


def test_parameter_counts_at_full_size() -> None:
    """The published sizes, counted without allocating them."""
    for config, billions in (
        (WanConfig(), 1.42),
        (WanConfig(dim=5120, ffn_dim=13824, num_layers=40, num_heads=40), 14.29),
    ):
        with torch.device("meta"):
            count = sum(p.numel() for p in WanModel(config).parameters())
        assert count / 1e9 == pytest.approx(billions, abs=0.01)
