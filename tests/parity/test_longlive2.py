"""LongLive 2: its solver, its shots and its memory, against the official code's numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule, few_step
from streamt1.backbones.unipc import UniPCState
from streamt1.backbones.wan.backbone import WanBackbone, WanBranch
from streamt1.core.seeds import generator
from streamt1.memory import MemoryConfig
from tests.parity.families import asked, close, family_model
from tests.parity.goldens import GoldenSet, sets_or_skip

SETS = sets_or_skip("longlive2")
PREFIX = "cut to: "


@dataclass
class Ours:
    """What our code made of a set's noise and prompts, chunk by chunk."""

    golden: GoldenSet
    stored: dict[str, np.ndarray]
    flows: list[Tensor] = field(default_factory=list)
    final: list[Tensor] = field(default_factory=list)
    context: list[Tensor] = field(default_factory=list)
    before: list[WanBranch] = field(default_factory=list)
    after: list[WanBranch] = field(default_factory=list)


def memory_of(sizes: dict) -> MemoryConfig:
    names = ("window", "sink", "chunk")
    return MemoryConfig(
        **{name: sizes[name] for name in names},
        max_sink=sizes["sink"],
        eviction="discard",
        switch="shot",
        shot_offset=sizes["phi"],
    )


def schedule_of(sizes: dict) -> Schedule:
    count = sizes["steps"]
    return Schedule(tuple(1000 * (count - i) // count for i in range(count)), sizes["shift"], "unipc")


def backbone_of(golden: GoldenSet, stored: dict[str, np.ndarray]) -> WanBackbone:
    """Prompts are rows of the set's texts; where a shot begins, the row of its own text is asked for."""
    rows, sizes = torch.from_numpy(stored["text_emb"]), golden.sizes
    opens = {
        int(stored["text_index"][chunk + 1]): int(stored["text_index"][chunk])
        for chunk in np.flatnonzero(stored["scene_cut"]).tolist()
        if chunk
    }

    def encode(prompt: str) -> Tensor:
        row = int(prompt.removeprefix(PREFIX))
        return rows[opens[row] if prompt.startswith(PREFIX) else row][None]

    size = sizes["H"], sizes["W"]
    return WanBackbone(family_model(golden), encode, size, memory_of(sizes), schedule_of(sizes), shot_prefix=PREFIX)


@pytest.fixture(scope="module", params=SETS, ids=lambda path: path.name)
def ours(request: pytest.FixtureRequest) -> Ours:
    golden = GoldenSet(request.param)
    stored = golden.arrays("rollout.npz")
    backbone, made = backbone_of(golden, stored), Ours(golden, stored)
    calls, source = asked(backbone.model), generator(int(stored["noise_seed"]))
    index = stored["text_index"].tolist()
    branch = backbone.start(str(index[0]))
    none = torch.empty(1, 0, *backbone.chunk_shape)
    for chunk, cut in enumerate(stored["scene_cut"].tolist()):
        if cut and chunk:
            branch = backbone.switch(branch, str(index[chunk + 1]), None).branch
        made.before.append(branch)
        noise = torch.randn(1, *backbone.chunk_shape, generator=source)
        half, _ = backbone.denoise([branch], noise, none, range(2))
        made.final.append(backbone.denoise([branch], half, none, range(2, backbone.steps))[0][0])
        made.flows.append(torch.stack(calls))
        calls.clear()
        branch = backbone.commit(branch, made.final[-1], None)
        made.context.append(calls.pop())
        made.after.append(branch)
    return made


def test_flow_and_latents(ours: Ours) -> None:
    close(torch.stack(ours.flows), ours.stored["flow"], "flow")
    close(torch.stack(ours.final), ours.stored["final"], "final")
    close(torch.stack(ours.context), ours.stored["flow_ctx"], "flow_ctx")


def test_what_memory_holds_and_where_it_stands(ours: Ours) -> None:
    each = ours.golden.sizes["chunk"]
    for chunk, branch in enumerate(ours.before):
        slots = [slot for slot in ours.stored["slot_chunk"][chunk].tolist() if slot >= 0]
        assert [page.start // each for page in branch.memory.pages] == slots[:-1]
    for chunk, branch in enumerate(ours.after):
        written = next((page for page in branch.memory.pages if page.start == chunk * each), None)
        assert written is not None
        assert written.position == ours.stored["q_position"][chunk][0]
        close(written.keys[[0, -1]], ours.stored["ctx_k"][chunk], "keys")
        close(written.values[[0, -1]], ours.stored["ctx_v"][chunk], "values")


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.name)
def test_a_picture_stands_in_the_first_frame(path: Path) -> None:
    golden = GoldenSet(path)
    stored, rollout = golden.arrays("i2v.npz"), golden.arrays("rollout.npz")
    backbone = backbone_of(golden, rollout)
    backbone.starts = "held"
    told: list[Tensor] = []
    backbone.model.register_forward_pre_hook(lambda module, given: told.append(given[1][0]))
    calls, source = asked(backbone.model), generator(int(stored["noise_seed"]))
    started = backbone.start_from(str(stored["text_index"]), torch.from_numpy(stored["first_latent"]))
    assert started.chunks == ()
    branch, none, made = started.branch, torch.empty(1, 0, *backbone.chunk_shape), []
    for chunk, flows in enumerate(stored["flow"]):
        noise = torch.randn(1, *backbone.chunk_shape, generator=source)
        half, preview = backbone.denoise([branch], noise, none, range(1))
        x0 = backbone.denoise([branch], half, none, range(1, backbone.steps))[0][0]
        np.testing.assert_array_equal(torch.stack(told), stored["timesteps_seen"][chunk])
        close(torch.stack(calls), flows, f"flow of chunk {chunk}")
        if not chunk:
            close(preview[0, : len(stored["first_latent"])], stored["first_latent"], "preview")
        branch = backbone.commit(branch, x0, None)
        made.append(x0)
        calls.clear()
        told.clear()
    close(torch.cat(made), stored["final"], "final")


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.name)
def test_the_solver(path: Path) -> None:
    golden = GoldenSet(path)
    stored, schedule = golden.arrays("rollout.npz"), schedule_of(golden.sizes)
    np.testing.assert_allclose(schedule.sigmas.numpy(), stored["sigmas"][:-1], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(schedule.timesteps.numpy(), stored["timesteps"])
    solver = schedule.solver
    assert [solver.order(step) for step in range(len(schedule.steps))] == stored["solver_order"].tolist()
    for place, chunk in enumerate(stored["full_chunks"].tolist()):
        corrected = torch.from_numpy(stored["solver_corrected"][place])
        state = UniPCState.unpacked(corrected[:1])
        for step, clean in enumerate(torch.from_numpy(stored["solver_x0"][place])):
            state = solver.step(step, state, clean[None])
            close(state.corrected[0], corrected[step].numpy(), f"chunk {chunk} step {step}")
            if step + 1 < len(schedule.steps):
                close(state.x[0], stored["xt"][place][step], f"chunk {chunk} step {step}")


def test_the_solver_is_the_one_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    schedule = Schedule(tuple(range(1000, 0, -125)), 3.0, "unipc")
    twin = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    twin.set_timesteps(len(schedule.steps))
    twin.sigmas = torch.cat([schedule.sigmas, torch.zeros(1)])
    x = torch.randn(2, 3, 4, 5, 6, generator=generator(1))

    def flow(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(3 * x) + t / 1000 * x

    theirs = x
    for told, step in zip(schedule.timesteps, twin.timesteps):
        theirs = twin.step(flow(theirs, told), step, theirs).prev_sample
    made, clean = few_step(flow, x, torch.empty(2, 0, 3, 4, 5, 6), schedule, range(len(schedule.steps)))
    assert torch.equal(made, clean)
    torch.testing.assert_close(made, theirs, atol=1e-5, rtol=0)
