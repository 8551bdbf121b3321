"""Causal-Forcing: chunks of one frame, a first chunk of more steps, and a video that begins with a picture."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.core.protocols import draws_after, steps_after
from streamt1.core.seeds import generator
from streamt1.memory import MemoryConfig
from tests.parity.families import asked, close, family_model
from tests.parity.goldens import GoldenSet, golden_sets, manifest_of, sets_or_skip

RUNS = [
    pytest.param((path, run), id=f"{path.name}-{run[0]}")
    for path in golden_sets("causal_forcing")
    for run in manifest_of(path)["cfg"]["runs"]
] or sets_or_skip("causal_forcing")
WINDOW = 21


@dataclass
class Ours:
    """What our code made of a run's noise, chunk by chunk."""

    stored: dict[str, np.ndarray]
    backbone: WanBackbone
    flows: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    context: list[Tensor] = field(default_factory=list)
    after: list[WanBranch] = field(default_factory=list)


def schedule_of(stored: dict[str, np.ndarray]) -> Schedule:
    """The run's steps, read back from its noise levels: of the first chunk, and of the others."""
    table = Schedule(tuple(range(1000, 0, -1)))
    steps = [1000 - int((table.sigmas - level).abs().argmin()) for level in stored["sigma"].tolist()]
    chunks = [tuple(np.array(steps)[stored["chunk_of_step"] == chunk].tolist()) for chunk in (0, 1)]
    return Schedule(chunks[1], first=() if chunks[0] == chunks[1] else chunks[0])


@pytest.fixture(scope="module", params=RUNS)
def ours(request: pytest.FixtureRequest) -> Ours:
    path, (name, _, frames, pictured) = request.param
    golden = GoldenSet(path)
    sizes, arrays = golden.sizes, golden.arrays("rollout.npz")
    stored = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
    each = stored["x0"].shape[1]
    memory = MemoryConfig(window=WINDOW, sink=0, max_sink=0, chunk=each, eviction="discard")
    rows = torch.from_numpy(arrays["text_emb"])[None]
    size = sizes["H"], sizes["W"]
    backbone = WanBackbone(family_model(golden), lambda prompt: rows, size, memory, schedule_of(stored))
    made, calls = Ours(stored, backbone), asked(backbone.model)
    if pictured:
        begun = backbone.start_from("", torch.from_numpy(stored["first_latent"]))
        branch = backbone.give(begun.branch, begun.chunks[0], None)
        calls.clear()
        close(branch.memory.pages[0].keys[[0, -1]], stored["first_k"], "first keys")
        close(branch.memory.pages[0].values[[0, -1]], stored["first_v"], "first values")
    else:
        branch = backbone.start("")
    source = generator(int(stored["noise_seed"]))
    noise = torch.randn(1, frames - pictured, *backbone.chunk_shape[1:], generator=source)
    for initial in noise.split(each, dim=1):
        fresh = [torch.randn(backbone.chunk_shape, generator=source) for _ in range(draws_after(backbone, branch))]
        drawn = torch.stack(fresh)[None] if fresh else torch.empty(1, 0, *backbone.chunk_shape)
        made.x0.append(backbone.denoise([branch], initial, drawn, range(steps_after(backbone, branch)))[0][0])
        made.flows += calls
        calls.clear()
        branch = backbone.commit(branch, made.x0[-1], None)
        made.context.append(calls.pop())
        made.after.append(branch)
    return made


def test_flow_and_latents(ours: Ours) -> None:
    close(torch.stack(ours.flows), ours.stored["flow"], "flow")
    close(torch.stack(ours.x0), ours.stored["x0"], "x0")
    close(torch.stack(ours.context), ours.stored["flow_ctx"], "flow_ctx")


def test_noise_levels_and_places(ours: Ours) -> None:
    stored, schedule = ours.stored, ours.backbone.schedule
    for chunk in range(len(ours.x0)):
        own = stored["chunk_of_step"] == chunk
        close(schedule.of_chunk(chunk).sigmas, stored["sigma"][own], "sigma")
        close(schedule.of_chunk(chunk).timesteps / 1000, stored["timestep"][own] / 1000, "timestep")
    places = [branch.memory.pages[-1].position for branch in ours.after]
    assert places == stored["start_frame"].tolist()


def test_pages(ours: Ours) -> None:
    for chunk, branch in enumerate(ours.after if "ctx_k" in ours.stored else []):
        close(branch.memory.pages[-1].keys[[0, -1]], ours.stored["ctx_k"][chunk], "keys")
        close(branch.memory.pages[-1].values[[0, -1]], ours.stored["ctx_v"][chunk], "values")
