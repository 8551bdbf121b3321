"""A rollout with every route: flow, x0, the sink's keys and values, and what stands where in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.backbones.wan.backbone import WanBackbone, WanBranch
from streamt1.backbones.wan.rope import grid_angles, rotate
from streamt1.core.seeds import generator
from streamt1.core.types import Route
from streamt1.memory import Page
from tests.parity.goldens import GoldenSet

TOLERANCE = 1e-4
ROUTES = (Route.DISCARD, Route.EMA, Route.APPEND, Route.APPEND)
"""The official route codes; 3 is an append that finds the sink full."""


@dataclass
class Recorded:
    """What our code did with the golden's inputs."""

    noise: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    flows: list[Tensor] = field(default_factory=list)
    context_flows: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    before: list[WanBranch] = field(default_factory=list)
    """The memory that each chunk read (what it pushed out has left)."""
    after: list[WanBranch] = field(default_factory=list)


class ModelCalls:
    """What goes into the transformer and what comes out, call by call: a forward hook's view of it."""

    def __init__(self, backbone: WanBackbone) -> None:
        self.inputs: list[Tensor] = []
        self.flows: list[Tensor] = []
        backbone.model.register_forward_hook(self._see)

    def _see(self, module: object, given: tuple[Tensor, ...], flow: Tensor) -> None:
        self.inputs.append(given[0][0])
        self.flows.append(flow[0])

    def taken(self) -> tuple[list[Tensor], list[Tensor]]:
        taken = self.inputs, self.flows
        self.inputs, self.flows = [], []
        return taken


@pytest.fixture(scope="module")
def rollout(golden: GoldenSet) -> tuple[dict[str, np.ndarray], Recorded]:
    stored = golden.arrays("dit_rollout.npz")
    backbone = golden.backbone(torch.from_numpy(stored["text_emb"]))
    calls, ours = ModelCalls(backbone), Recorded()
    branch = backbone.start("")
    for chunk, seed in enumerate(stored["noise_seed"].tolist()):
        source = generator(seed)
        drawn = torch.stack([torch.randn(backbone.chunk_shape, generator=source) for _ in range(1 + backbone.draws)])
        noise, fresh = drawn[:1], drawn[None, 1:]
        ours.before.append(branch)
        x0 = backbone.denoise([branch], noise, fresh, range(backbone.steps))[0][0]
        inputs, flows = calls.taken()
        ours.noise.append(noise[0])
        ours.inputs.append(torch.stack(inputs))
        ours.flows.append(torch.stack(flows))
        ours.x0.append(x0)
        branch = backbone.commit(branch, x0, forced_route(stored, chunk))
        ours.context_flows.append(calls.taken()[1][0])
        ours.after.append(branch)
    return stored, ours


def forced_route(stored: dict[str, np.ndarray], chunk: int) -> Route | None:
    """Chunk ``i + 1`` of the golden left by ``route_of_evicted[i]``; later chunks never left."""
    routes = stored["route_of_evicted"].tolist()
    return ROUTES[routes[chunk - 1]] if 1 <= chunk <= len(routes) else None


def test_noise_is_bit_identical(rollout) -> None:
    stored, ours = rollout
    np.testing.assert_array_equal(torch.stack(ours.noise).numpy(), stored["xt"][:, 0])


def test_inputs_flow_and_x0(rollout) -> None:
    stored, ours = rollout
    for name, values in (("xt", ours.inputs), ("flow", ours.flows), ("x0", ours.x0), ("flow_ctx", ours.context_flows)):
        np.testing.assert_allclose(torch.stack(values).numpy(), stored[name], rtol=0, atol=TOLERANCE, err_msg=name)


def test_what_leaves_the_window_and_where_it_goes(rollout) -> None:
    stored, ours = rollout
    for chunk, branch in enumerate(ours.before):
        eviction = branch.memory.eviction
        assert (eviction.start if eviction else -1) == stored["evicted_chunk_start"][chunk]
        outcome = eviction.outcome if eviction else Route.DISCARD
        assert (eviction.slot if eviction and outcome is Route.EMA else -1) == stored["ema_slot"][chunk]
        assert (eviction.start if eviction and outcome is Route.APPEND else -1) == stored["appended_start"][chunk]


def test_memory_holds_the_official_frames_at_the_official_positions(golden: GoldenSet, rollout) -> None:
    stored, ours = rollout
    frames = golden.memory.chunk
    for chunk, branch in enumerate(ours.before):
        start = chunk * frames
        sinks = [page.start for page in branch.memory.sinks]
        local = [page.start for page in branch.memory.window]
        (sinks if start < golden.memory.sink else local).append(start)  # the chunk itself, once it is written
        held = stored["cache_frame_ids"][chunk]
        assert [s + i for s in sinks + local for i in range(frames)] == held[held >= 0].tolist()
        assert len(sinks) * frames == stored["sink_frames"][chunk]
        assert set(stored["pos_q"][chunk].tolist()) == {start}
        assert all(row[row >= 0].tolist() == sinks for row in stored["pos_sink"][chunk])
        assert set(stored["pos_local_start"][chunk].tolist()) == {local[0] if local else -1}
        assert set(stored["pos_local_frames"][chunk].tolist()) == {len(local) * frames}


def test_sink_slots_hold_the_official_keys_and_values(golden: GoldenSet, rollout) -> None:
    stored, ours = rollout
    checked = 0
    for name, expected in stored.items():
        if not name.startswith("slot_"):
            continue
        _, part, layer, slot, chunk = name.split("_")
        c, s, index = int(chunk[1:]), int(slot[1:]), int(layer[1:])
        branch = ours.before[c] if s < len(ours.before[c].memory.sinks) else ours.after[c]
        page = branch.memory.sinks[s]
        value = before_rotary(page, index, golden) if part == "K" else page.values[index]
        np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=TOLERANCE, err_msg=name)
        checked += 1
    assert checked


def before_rotary(page: Page, layer: int, golden: GoldenSet) -> Tensor:
    """The page's keys as the golden stores them; we store them rotated."""
    keys = page.keys[layer]
    positions = torch.arange(page.start, page.start + golden.memory.chunk)
    grid = golden.model().config.grid(golden.sizes["latent_h"], golden.sizes["latent_w"])
    angles = grid_angles(positions, grid, keys.shape[-1])
    return rotate(keys[None], angles.cos().float(), -angles.sin().float())[0]
