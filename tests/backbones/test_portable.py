"""Branches that leave a backbone and go on in another, bit for bit; what does not fit is refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.backbones.pocket.backbone import PocketBackbone
from streamt1.backbones.wan.backbone import WanBackbone, WanBranch
from streamt1.backbones.wan.model import WanModel
from streamt1.backbones.wan.portable import brought
from streamt1.core.errors import CheckpointError
from streamt1.core.identity import content_id
from streamt1.core.protocols import Portable
from streamt1.core.seeds import generator
from streamt1.core.snapshot import Snapshot
from streamt1.core.timeline import Switch
from streamt1.core.types import Route
from streamt1.memory import DevicePages, MemoryConfig, storage
from tests.backbones.test_wan import TINY, denoised, tiny_backbone

ROUTES = {"-": None, "d": Route.DISCARD, "e": Route.EMA, "a": Route.APPEND}
MODES: dict[str, Switch | None] = {"k": "keep", "r": "recache", "c": "cut", "m": None}
RULES = {
    "plain": MemoryConfig(),
    "relative": MemoryConfig(positions="relative", recall=2),
    "recall": MemoryConfig(recall=3, switch="recache"),
    "no global sink": MemoryConfig(global_sink=False, recall=1),
    "small sink": MemoryConfig(max_sink=6, ema_alpha=0.5),
    "no sink": MemoryConfig(window=9, sink=0, max_sink=0, switch="recache"),
    "two sinks": MemoryConfig(window=12, sink=6, positions="relative"),
    "ema": MemoryConfig(eviction="ema", switch="cut", recall=2),
    "four bits": MemoryConfig(bits=4, recall=2, switch="recache"),
    "two bits, relative": MemoryConfig(bits=2, positions="relative", max_sink=6, ema_alpha=0.5),
    "by channel": MemoryConfig(bits=8, codec="channels", recall=1),
}
PAST = [
    "",
    "-",
    "-eda",
    "-aaeed",
    "-edArBaed",
    "-eakBdecAae",
    "-adrBeakAdd",
    "-eemBaadcBe",
    "-aarBddrAee",
    "-eBddeAaddBd",
    "-eBddeAadd",
]
"""Histories: a letter of ``ROUTES`` is a chunk, one of ``MODES`` a switch to the scene of the letter behind it."""
FUTURE = ["eadd", "rAed", "kBaecAd"]


def backbone(rules: MemoryConfig = MemoryConfig(), dtype: torch.dtype = torch.float32) -> WanBackbone:
    """A tiny model, the same in every process, that reads prompts."""
    torch.manual_seed(0)
    model = WanModel(TINY).eval().to(dtype)

    def encode(prompt: str) -> torch.Tensor:
        return torch.randn(1, TINY.text_len, TINY.text_dim, generator=generator(ord(prompt)))

    return WanBackbone(model, encode, (4, 6), rules)


def told(
    own: WanBackbone, branch: WanBranch, history: str, drawn: bool = False
) -> tuple[WanBranch, list[torch.Tensor]]:
    """The branch after a history, and the latents of its chunks; without ``drawn`` the model denoises them."""
    latents, letters = [], iter(history)
    for number, letter in enumerate(letters):
        old = branch
        if letter in MODES:
            branch = own.switch(branch, next(letters), MODES[letter]).branch
        elif letter in ROUTES:
            seed = 100 * branch.memory.chunks + number
            chunk = (
                torch.randn(own.chunk_shape, generator=generator(seed)) if drawn else denoised(own, [branch], [seed])[0]
            )
            latents.append(chunk)
            branch = own.commit(branch, chunk, ROUTES[letter])
        else:
            branch = own.switch(branch, letter, None).branch
        own.release(old)
        own.memory.pool.check([branch.memory.held])
    return branch, latents


def same(one: WanBranch, other: WanBranch) -> bool:
    """Whether two branches of two backbones are the same, to the last bit."""
    pages = list(zip(one.memory.held, other.memory.held, strict=True))
    return one.memory.id == other.memory.id and one.prompt.same(other.prompt) and all(
        storage.same(a.keys, b.keys) and storage.same(a.values, b.values) and a.form[:2] == b.form[:2]
        for a, b in pages
    )  # fmt: skip


def moved(there: WanBackbone, branch: WanBranch, here: WanBackbone, folder: Path) -> WanBranch:
    return here.load(Snapshot.read(there.dump(branch).write(folder / "a.safetensors")))


@pytest.mark.parametrize("history", PAST)
@pytest.mark.parametrize("rules", RULES)
def test_a_branch_goes_on_elsewhere_bit_for_bit(rules: str, history: str, tmp_path: Path) -> None:
    there, here = backbone(RULES[rules]), backbone(RULES[rules])
    branch, _ = told(there, there.start("A"), history, drawn=True)
    found = moved(there, branch, here, tmp_path)
    here.memory.pool.check([found.memory.held])
    assert same(branch, found)
    assert here.inspect(found) == there.inspect(branch)
    future = FUTURE[len(history) % 3]
    (theirs, expected), (ours, latents) = told(there, branch, future), told(here, found, future)
    assert all(torch.equal(a, b) for a, b in zip(expected, latents, strict=True))
    assert same(theirs, ours)
    assert here.inspect(ours) == there.inspect(theirs)
    here.release(ours)
    assert here.memory.pool.live == 0


def test_the_histories_above_hold_all_that_a_branch_can() -> None:
    found = []
    for rules, history in itertools.product(RULES.values(), PAST):
        own = backbone(rules)
        found.append(told(own, own.start("A"), history, drawn=True)[0].memory)
    assert any(branch.recalled and branch.window for branch in found)
    assert any(branch.since for branch in found)
    assert any(page.turned not in (None, page.start) for branch in found for page in branch.pages)
    assert {branch.eviction.outcome for branch in found if branch.eviction} == {*Route}
    assert any(len(branch.sinks) > 1 for branch in found)
    assert any({page.start for _, page in branch.shelf} - {page.start for page in branch.pages} for branch in found)


def test_every_way_from_every_short_past(tmp_path: Path) -> None:
    """All routes of two chunks, each followed by each kind of switch and two chunks more."""
    rules = MemoryConfig(window=9, sink=3, max_sink=6, recall=2, positions="relative", ema_alpha=0.5)
    there, here = backbone(rules), backbone(rules)
    for past, mode in itertools.product(itertools.product("dea", repeat=2), "krc"):
        branch, _ = told(there, there.start("A"), "-" + "".join(past) + "dB", drawn=True)
        found = moved(there, branch, here, tmp_path)
        future = f"{mode}Aed"
        (theirs, expected), (ours, latents) = told(there, branch, future), told(here, found, future)
        assert all(map(torch.equal, expected, latents))
        there.release(theirs)
        here.release(ours)
    assert there.memory.pool.live == here.memory.pool.live == 0


def test_sixteen_bits_and_wide_sinks(tmp_path: Path) -> None:
    for history, dtypes in (("-eadd", {torch.bfloat16}), ("-edd", {torch.float32, torch.bfloat16})):
        there, here = (backbone(dtype=torch.bfloat16) for _ in range(2))
        branch, _ = told(there, there.start("A"), history, drawn=True)
        found = moved(there, branch, here, tmp_path)
        assert {page.keys.dtype for page in found.memory.pages} == dtypes
        assert same(branch, found)
        assert torch.equal(denoised(there, [branch], [1]), denoised(here, [found], [1]))


def test_beams_that_leave_together_share_again(tmp_path: Path) -> None:
    there, here = backbone(), backbone()
    root, _ = told(there, there.start("A"), "-eda", drawn=True)
    beams = [there.commit(root, torch.randn(there.chunk_shape, generator=generator(i)), Route.EMA) for i in range(3)]
    found = [moved(there, beam, here, tmp_path) for beam in beams]
    assert here.memory.pool.live == len({id(page) for beam in beams for page in beam.memory.held})
    here.memory.pool.check([one.memory.held for one in found])
    assert len({one.prompt for one in found}) == 1
    seeds = [1, 2, 3]
    assert torch.equal(denoised(there, beams, seeds), denoised(here, found, seeds))
    again = moved(there, root, there, tmp_path)
    assert again.memory.pages == root.memory.pages, "into the backbone that it left: it shares with itself"
    assert again.prompt is root.prompt


def test_the_dumped_branch_stays_what_it_was() -> None:
    there = backbone()
    branch, _ = told(there, there.start("A"), "-ed", drawn=True)
    before = denoised(there, [branch], [1])
    live = there.memory.pool.live
    there.dump(branch)
    assert there.memory.pool.live == live
    assert torch.equal(denoised(there, [branch], [1]), before)


def test_pages_that_live_elsewhere_go_home(tmp_path: Path) -> None:
    """As beside a GPU: with room for copies and without; on the CPU both places are the same memory."""
    there = backbone()
    branch, _ = told(there, there.start("A"), "-ead", drawn=True)
    for limit in (0.0, 1e9):
        here = backbone()
        here._home, here.copies = torch.device("cpu"), DevicePages(torch.device("cpu"), limit)
        found = moved(there, branch, here, tmp_path)
        assert torch.equal(denoised(there, [branch], [1]), denoised(here, [found], [1]))


def test_a_page_is_brought_to_where_pages_are_kept() -> None:
    own, meta = backbone(), torch.device("meta")
    [page] = told(own, own.start("A"), "-", drawn=True)[0].memory.pages
    there = brought(page, meta, meta)
    assert there.keys.device == there.values.device == meta
    assert (there.id, there.content) == (page.id, page.content), "one copy on a device serves both"
    assert brought(page, torch.device("cpu"), torch.device("cpu")) is page


def test_four_bits_lose_once() -> None:
    """What was loaded from them is dumped plain, and comes back as it is."""
    origin, first, second = (backbone(RULES["recall"]) for _ in range(3))
    small = origin.dump(told(origin, origin.start("A"), "-eBddA", drawn=True)[0]).in_four_bits()
    branch = first.load(small)
    again = second.load(first.dump(branch))
    assert same(branch, again)
    (_, expected), (_, latents) = (told(b, one, "eBe") for b, one in ((first, branch), (second, again)))
    assert all(map(torch.equal, expected, latents))


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.backbones.test_portable import RULES, backbone, told
own = backbone(RULES["recall"])
branch, _ = told(own, own.start("A"), "-eBddAdd", drawn=True)
own.dump(branch).write(Path(sys.argv[1]))
"""


def test_another_process_writes_and_this_one_goes_on(tmp_path: Path) -> None:
    path, root = tmp_path / "a.safetensors", Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", SCRIPT, str(path)], cwd=root, check=True)
    there, here = backbone(RULES["recall"]), backbone(RULES["recall"])
    branch, _ = told(there, there.start("A"), "-eBddAdd", drawn=True)
    found = here.load(Snapshot.read(path))
    assert same(branch, found)
    (theirs, expected), (ours, latents) = (told(b, one, "Be") for b, one in ((there, branch), (here, found)))
    assert all(map(torch.equal, expected, latents))
    assert there.inspect(theirs) == here.inspect(ours)
    assert ours.memory.recalled


def test_another_model_or_other_rules_are_refused() -> None:
    own = backbone()
    snapshot = own.dump(told(own, own.start("A"), "-e", drawn=True)[0])
    other = backbone()
    other.model.blocks[1].ffn[0].weight.data[0, 0] += 1e-3
    narrow, rules, larger = (
        backbone(dtype=torch.bfloat16),
        backbone(MemoryConfig(window=15)),
        tiny_backbone(size=(8, 6)),
    )
    for wrong, said in (
        (
            other,
            r"^the snapshot was made by another model \(weights is \w{32} there and \w{32} here\): load it into the",
        ),
        (narrow, r"another model \(dtype is float32 there and bfloat16 here, weights is"),
        (larger, r"another model \(chunk_shape is \[3, 4, 4, 6\] there and \[3, 4, 8, 6\] here, weights is"),
        (
            rules,
            r"^the snapshot was made under other rules of memory \(window is 12 there and 15 here\): load it where",
        ),
        (GaussianBackbone(), "is of a 'wan' backbone, not of 'gaussian'"),
    ):
        with pytest.raises(CheckpointError, match=said):
            wrong.load(snapshot)
    assert rules.memory.pool.live == 0
    with pytest.raises(CheckpointError, match="is of a 'gaussian' backbone, not of 'wan'"):
        own.load(GaussianBackbone().dump(GaussianBackbone().start("")))


def test_rules_are_set_as_they_were_there() -> None:
    own = backbone(MemoryConfig(window=15))
    snapshot = own.dump(told(own, own.start("A"), "-e", drawn=True)[0])
    assert backbone().with_memory(MemoryConfig(window=15)).load(snapshot).memory.chunks == 2


@pytest.mark.parametrize("lost", ["pages.0.keys", "text.1.values", "past.1"])
def test_what_lacks_a_part_is_refused(lost: str) -> None:
    own = backbone()
    snapshot = own.dump(told(own, own.start("A"), "-e", drawn=True)[0])
    rest = {name: tensor for name, tensor in snapshot.tensors.items() if name != lost}
    with pytest.raises(CheckpointError, match="is not what a backbone dumps"):
        own.load(replace(snapshot, tensors=rest))
    cut = {name: tensor[..., :1] if name == lost else tensor for name, tensor in snapshot.tensors.items()}
    with pytest.raises(CheckpointError, match=r"load it into the model|is not what a backbone dumps"):
        own.load(replace(snapshot, tensors=cut))


@pytest.mark.parametrize(
    "change", [{"past": []}, {"past": ["x", "ema"]}, {"memory": 5}, {"memory": {}}, {"past": None}]
)
def test_what_tells_no_branch_is_refused(change: dict[str, Any]) -> None:
    own = backbone()
    snapshot = own.dump(told(own, own.start("A"), "-e", drawn=True)[0])
    live = own.memory.pool.live
    with pytest.raises(CheckpointError, match="is not what a backbone dumps"):
        own.load(replace(snapshot, metadata={**snapshot.metadata, **change}))
    assert own.memory.pool.live == live


def test_a_branch_with_nan_is_refused_when_it_is_dumped() -> None:
    own = backbone()
    branch = own.commit(own.start("A"), torch.full(own.chunk_shape, float("nan")), None)
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in 'pages\.0\.keys'"):
        own.dump(branch)


def test_a_walk_goes_on_elsewhere() -> None:
    there, here = (GaussianBackbone(channels=2, memory=0.5) for _ in range(2))
    branch = there.start("")
    for seed, route in enumerate(ROUTES.values()):
        branch = there.commit(branch, torch.randn(there.chunk_shape, generator=generator(seed)), route)
    found = here.load(there.dump(branch))
    assert (torch.equal(found.mean, branch.mean), found.routes, here.live) == (True, branch.routes, 1)
    here.release(found)
    assert here.live == 0
    with pytest.raises(CheckpointError, match=r"memory is 0\.5 there and 0\.8 here"):
        GaussianBackbone(channels=2).load(there.dump(branch))
    for wrong in ({"tensors": {}}, {"metadata": {**there.dump(branch).metadata, "routes": ["x"]}}):
        with pytest.raises(CheckpointError, match="is not what a backbone dumps"):
            here.load(replace(there.dump(branch), **wrong))
    assert here.live == 0


def test_damaged_codes_are_refused() -> None:
    """A codec that is unknown, a part that is missing, of another type or shape, and one that fits another codec."""
    there = backbone(RULES["four bits"])
    branch, _ = told(there, there.start("A"), "-ad", drawn=True)
    good = there.dump(branch)
    here = backbone(RULES["four bits"])
    codes = "codes.1.values.0"
    for tensors in (
        {name: one for name, one in good.tensors.items() if name != codes},
        {**good.tensors, codes: good.tensors[codes][:, 1:]},
        {**good.tensors, codes: good.tensors[codes].int()},
        {**good.tensors, codes: torch.cat([good.tensors[codes]] * 2, -1)},
    ):
        with pytest.raises(CheckpointError):
            here.load(replace(good, tensors=tensors))
    for name in ("rotated 5 bits", 4, None):
        memory = dict(good.metadata["memory"])
        memory["pages"] = [[*page[:4], name] for page in memory["pages"]]
        with pytest.raises(CheckpointError):
            here.load(replace(good, metadata={**good.metadata, "memory": memory}))
    with pytest.raises(CheckpointError, match="bits is 4 there and 16 here"):
        backbone(RULES["plain"]).load(good)
    assert here.memory.pool.live == 0
    here.release(here.load(good))


def test_portable_is_told_by_its_methods() -> None:
    assert isinstance(backbone(), Portable)
    assert isinstance(GaussianBackbone(), Portable)
    assert not isinstance(object(), Portable)


PROMPT = "a red circle bouncing on a navy striped background"


def test_pocket_in_four_bits() -> None:
    """Pages within half a step; the next chunk moves by less than half of what other noise does. Plain stays plain."""
    there, plain, narrow = PocketBackbone(), PocketBackbone(), PocketBackbone()
    branch = there.start(PROMPT)
    for chunk, letter in enumerate("-ead"):
        branch = there.commit(branch, denoised(there, [branch], [chunk])[0], ROUTES[letter])
    snapshot = there.dump(branch)
    small = snapshot.in_four_bits()
    assert small.nbytes < 0.26 * snapshot.nbytes
    assert len(small.packed) == 2 * len(branch.memory.pages)
    for name, one in small.packed.items():
        error = (small.tensor(name) - snapshot.tensor(name)).abs()
        step = small.tensors[f"{name}.steps"].float().repeat_interleave(one.group, -1)
        assert (error <= step / 2 + 1e-5).all()
        assert error.max() == one.lost.largest < 1
        assert one.lost.relative < 0.12
    exact, near, other = (
        denoised(own, [own.load(given)], [seed])
        for own, given, seed in ((plain, snapshot, 7), (narrow, small, 7), (plain, snapshot, 8))
    )
    assert torch.equal(exact, denoised(there, [branch], [7]))
    lost, noise = ((one - exact).square().mean().sqrt() / exact.square().mean().sqrt() for one in (near, other))
    assert 0 < lost < 0.1
    assert lost < 0.5 * noise
    assert branch.prompt.id == content_id(PROMPT)
