"""Krea realtime: a memory that is written anew after every chunk, over a picture of what was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.rebuilt import RebuiltBackbone, RebuiltBranch
from streamt1.core.seeds import generator
from streamt1.memory import MemoryConfig
from tests.parity.families import asked, close, family_model
from tests.parity.goldens import GoldenSet, golden_sets, manifest_of, sets_or_skip

CHUNK = 3
RUNS = [
    pytest.param((path, run), id=f"{path.name}-{run['name']}")
    for path in golden_sets("krea")
    for run in manifest_of(path)["cfg"]["runs"]
] or sets_or_skip("krea")


class StubVAE:
    """The set's decoder, with a state that counts latents, and its encoder of one picture."""

    time_stride, fps = 4, 16

    def __init__(self, out: np.ndarray, back: np.ndarray) -> None:
        self.out, self.back = torch.from_numpy(out), torch.from_numpy(back)
        self.encoded = 0

    def start(self) -> int:
        return 0

    def decode(self, states: Sequence[int], latents: Tensor) -> tuple[Tensor, list[int]]:
        flat = torch.tanh(torch.einsum("rc,nfchw->nfrhw", self.out, latents))
        frames = torch.stack([flat * (1 - 0.1 * j) for j in range(4)], dim=2).flatten(1, 2)
        frames = frames.repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2) / 2 + 0.5
        return frames[:, 0 if states[0] else 3 :], [count + latents.shape[1] for count in states]

    def encode_picture(self, picture: Tensor) -> Tensor:
        self.encoded += 1
        small = torch.nn.functional.avg_pool2d(picture * 2 - 1, 8)
        return torch.einsum("cr,rhw->chw", self.back, small)[None]


@dataclass
class Ours:
    """What our code made of a run's noise, block by block."""

    stored: dict[str, np.ndarray]
    flows: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    before: list[RebuiltBranch] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)


@pytest.fixture(scope="module", params=RUNS)
def ours(request: pytest.FixtureRequest) -> Ours:
    path, run = request.param
    golden = GoldenSet(path)
    sizes, arrays, name = golden.sizes, golden.arrays("rollout.npz"), run["name"]
    stored = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
    steps = tuple(1000 * (run["steps"] - 1 - i) // (run["steps"] - 1) for i in range(run["steps"]))
    rebuild = "first" if run.get("keep") else "encoded"
    memory = MemoryConfig(run["n"] + CHUNK, 0, 0, CHUNK, eviction="discard", positions="relative", rebuild=rebuild)
    texts = torch.from_numpy(stored.get("text_of_denoising", arrays["text_emb"][:1]))
    vae = StubVAE(arrays["vae_P"], arrays["vae_E"])
    backbone = RebuiltBackbone(
        family_model(golden),
        lambda prompt: texts[int(prompt)][None],
        (sizes["H"], sizes["W"]),
        memory,
        Schedule(steps),
        vae,
        vae.encode_picture,
    )
    made, calls = Ours(stored), asked(backbone.model)
    source = generator(int(stored["noise_seed"]))
    noise = torch.randn(1, CHUNK * run["blocks"], *backbone.chunk_shape[1:], generator=source).split(CHUNK, dim=1)
    if "start_frame_latents" in stored:
        begun = backbone.start_from("0", torch.from_numpy(stored["start_frame_latents"]))
        branch = backbone.give(begun.branch, begun.chunks[0], None)
        noise = noise[1:]
    else:
        branch = backbone.start("0")
    for block, initial in enumerate(noise):
        if block and len(texts) > 1:
            branch = backbone.switch(branch, str(block), None).branch
        calls.clear()
        made.before.append(branch)
        fresh = torch.stack([torch.randn(backbone.chunk_shape, generator=source) for _ in range(backbone.draws)])
        made.x0.append(backbone.denoise([branch], initial, fresh[None], range(backbone.steps))[0][0])
        made.flows.append(torch.stack(calls))
        made.encoded.append(vae.encoded)
        branch = backbone.commit(branch, made.x0[-1], None)
    return made


def test_flow_and_latents(ours: Ours) -> None:
    close(torch.stack(ours.flows), ours.stored["flow"], "flow")
    close(torch.stack(ours.x0), ours.stored["x0"], "x0")


def test_memory_before_each_block(ours: Ours) -> None:
    stored = ours.stored
    assert np.diff([0, *ours.encoded]).tolist() == stored["encoder_calls"].tolist()
    for block, branch in enumerate(ours.before):
        pages = branch.memory.pages
        assert CHUNK * len(pages) == stored["start_position"][block] == stored["context_frames"][block]
        if pages:
            keys, values = (
                torch.cat([getattr(page, part)[[0, -1]] for page in pages], 1) for part in ("keys", "values")
            )
            close(keys, stored["ctx_k"][block][:, : keys.shape[1]], "keys")
            close(values, stored["ctx_v"][block][:, : keys.shape[1]], "values")
