"""LongLive 1: what a new prompt does to memory, and relative positions. The manifest tells all sizes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.backbones.wan.backbone import WanBackbone, WanBranch
from streamt1.backbones.wan.rope import Rotary, shift_angles
from streamt1.core.protocols import Switched
from streamt1.core.seeds import generator
from streamt1.core.types import Route
from streamt1.memory import MemoryConfig
from streamt1.memory.storage import Reading
from streamt1.memory.view import read
from tests.parity.goldens import GoldenSet, golden_sets, manifest_of

TOLERANCE = 1e-4
FILES = [(folder, name) for folder in golden_sets("longlive1") for name in sorted(manifest_of(folder)["files"])]


@dataclass
class Ours:
    """What our code did with a golden's inputs, chunk by chunk."""

    stored: dict[str, np.ndarray]
    unrotated: bool
    """Whether the golden's keys are stored before they are turned."""
    flows: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    context: list[Tensor] = field(default_factory=list)
    after: list[WanBranch] = field(default_factory=list)
    switches: dict[int, tuple[Switched, int]] = field(default_factory=dict)
    """By chunk, with the model calls that it took."""


def weights_of(folder: Path, manifest: dict[str, Any]) -> GoldenSet:
    """The set whose weights a LongLive set uses: its own, or the one that its manifest names."""
    named = re.match(r"[\w/]+\.npz", manifest["weights"]["file"])
    assert named is not None
    if (folder / "weights.npz").is_file():
        return GoldenSet(folder)
    others = [path for family in ("stream_t1", "longlive1") for path in golden_sets(family, everywhere=True)]
    for path in others:
        weights, called = path / "weights.npz", f"{path.parent.name}/{path.name}/weights.npz"
        if called == named.group() and weights.is_file() and digest(weights) == manifest["weights"]["sha256"]:
            return GoldenSet(path)
    pytest.skip(f"no {named.group()} of the hash that the manifest names: point STREAMT1_GOLDENS to it")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def backbone_for(folder: Path, name: str, stored: dict[str, np.ndarray]) -> WanBackbone:
    manifest = manifest_of(folder)
    sizes, rules = manifest["cfg"], manifest["files"][name]
    memory = MemoryConfig(
        window=sizes["local_attn_size"],
        sink=rules.get("sink_size", sizes["sink_size"]),
        max_sink=sizes["local_attn_size"],
        chunk=sizes["num_frame_per_block"],
        eviction="discard",
        switch="recache",
        global_sink=rules["global_sink"],
        positions="relative" if rules["use_infinite_attention"] else "absolute",
    )
    golden = weights_of(folder, manifest)
    text = torch.from_numpy(stored["text_emb"])
    size = sizes["latent_h"], sizes["latent_w"]
    rows = text if text.ndim == 3 else text[None]
    return WanBackbone(golden.model(), lambda prompt: rows[int(prompt)][None], size, memory, golden.schedule)


@pytest.fixture(scope="module", params=FILES, ids=[f"{folder.name}-{name}" for folder, name in FILES])
def ours(request: pytest.FixtureRequest) -> Ours:
    folder, name = request.param
    stored = GoldenSet(folder).arrays(name)
    backbone = backbone_for(folder, name, stored)
    made = Ours(stored, manifest_of(folder)["files"][name]["use_infinite_attention"])
    calls: list[Tensor] = []
    backbone.model.register_forward_hook(lambda module, given, flow: calls.append(flow[0]))
    prompts = stored["prompt_index"].tolist() if "prompt_index" in stored else [0] * len(stored["noise_seed"])
    branch, under = backbone.start(str(prompts[0])), prompts[0]
    for chunk, seed in enumerate(stored["noise_seed"].tolist()):
        if prompts[chunk] != under:
            under = prompts[chunk]
            switched = backbone.switch(branch, str(under), None)
            made.switches[chunk] = switched, len(calls)
            branch = switched.branch
            calls.clear()
        source = generator(seed)
        drawn = torch.stack([torch.randn(backbone.chunk_shape, generator=source) for _ in range(1 + backbone.draws)])
        x0 = backbone.denoise([branch], drawn[:1], drawn[None, 1:], range(backbone.steps))[0][0]
        made.flows.append(torch.stack(calls))
        made.x0.append(x0)
        calls.clear()
        branch = backbone.commit(branch, x0, None)
        made.context.append(calls.pop())
        made.after.append(branch)
    return made


def close(ours: Tensor, stored: np.ndarray, name: str) -> None:
    np.testing.assert_allclose(ours.numpy(), stored, rtol=0, atol=TOLERANCE, err_msg=name)


def test_flow_and_latents(ours: Ours) -> None:
    close(torch.stack(ours.flows), ours.stored["flow"], "flow")
    close(torch.stack(ours.x0), ours.stored["x0"], "x0")
    close(torch.stack(ours.context), ours.stored["flow_ctx"], "flow_ctx")


def test_what_is_written_again_and_how_often(ours: Ours) -> None:
    stored = ours.stored
    chunks = [chunk for chunk in ours.switches if chunk]
    if "recache_chunk" not in stored:
        assert not chunks
        return
    assert chunks == stored["recache_chunk"].tolist()
    each = stored["x0"].shape[1]
    for place, chunk in enumerate(chunks):
        switched, calls = ours.switches[chunk]
        assert calls == 1
        first, count = (int(stored[f"recache_{part}"][place]) for part in ("first_frame", "frames"))
        kept = len([page for page in switched.branch.memory.sinks if page.start // each not in switched.rewritten])
        assert switched.rewritten == tuple(range(first // each + kept, (first + count) // each))
        assert switched.passes == len(switched.rewritten)


def test_the_pages_after_a_switch(ours: Ours) -> None:
    """Keys and values of every slot that stays; the one that the next chunk pushes out has left ours."""
    stored = ours.stored
    each = stored["x0"].shape[1]
    for place, chunk in enumerate(chunk for chunk in ours.switches if chunk):
        memory = ours.switches[chunk][0].branch.memory
        frames = stored["recache_cache_frame_ids"][place]
        for key in (key for key in stored if key.startswith("recache_") and key.endswith(f"_c{chunk:02}")):
            kind, layer = key.split("_")[1], int(key.split("_L")[1].split("_")[0])
            held = torch.from_numpy(stored[key])
            used = frames[frames >= 0].tolist()
            tokens = len(held) // len(used)
            slots = [used.index(page.start) for page in memory.pages]
            rows = [row for slot in slots for row in range(slot * tokens, (slot + each) * tokens)]
            mine = read(memory, layer, Reading(torch.float32))[kind == "V"][0]
            if kind == "K" and ours.unrotated:
                shifts = torch.tensor([-(page.position) for page in memory.pages]).repeat_interleave(each * tokens)
                inside = torch.arange(each).repeat_interleave(tokens).repeat(len(memory.pages))
                mine = Rotary.of(shift_angles(shifts - inside, mine.shape[-1])).apply(mine)
                held = without_rows(held, mine.shape[-1])
                mine = without_rows(mine, mine.shape[-1])
            close(mine, held[rows].numpy(), key)


def without_rows(keys: Tensor, head_dim: int) -> Tensor:
    """The channels that turn with time alone."""
    pairs = head_dim // 2
    return keys[..., : 2 * (pairs - 2 * (pairs // 3))]


def test_no_route_is_invented(ours: Ours) -> None:
    assert all(page.route in (None, Route.DISCARD) for branch in ours.after for page in branch.memory.pages)
