"""Videos that begin with given frames, first chunks of other steps, shots: over whole searches and snapshots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.model import WanModel
from streamt1.backbones.wan.rebuilt import RebuiltBackbone
from streamt1.core.errors import ConfigError
from streamt1.core.protocols import StartingBackbone, VaryingBackbone
from streamt1.core.seeds import generator
from streamt1.core.snapshot import Snapshot
from streamt1.memory import MemoryConfig
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from tests.backbones.test_wan import TINY, noises
from tests.search.toy import toy

SHOTS = MemoryConfig(12, 3, 3, eviction="discard", switch="shot", shot_offset=4)


def backbone(memory: MemoryConfig = MemoryConfig(), schedule: Schedule = Schedule(), **settings) -> WanBackbone:
    torch.manual_seed(0)
    asked: list[str] = []

    def encode(prompt: str) -> Tensor:
        asked.append(prompt)
        return torch.randn(1, TINY.text_len, TINY.text_dim, generator=generator(sum(map(ord, prompt))))

    made = WanBackbone(WanModel(TINY).eval(), encode, (4, 6), memory, schedule, **settings)
    made.asked = asked  # type: ignore[attr-defined]
    return made


def test_given_chunks_are_what_committing_them_gives() -> None:
    model = backbone()
    assert isinstance(model, StartingBackbone)
    latents = torch.randn(6, *model.chunk_shape[1:], generator=generator(1))
    started = model.start_from("a", latents)
    assert len(started.chunks) == 2
    assert torch.equal(torch.cat(started.chunks), latents)
    given, plain = started.branch, model.start("a")
    for chunk in started.chunks:
        given, plain = model.give(given, chunk, None), model.commit(plain, chunk, None)
    assert given.memory.id == plain.memory.id
    assert (model.made(given), model.made(plain)) == (0, 2)


class Shows:
    """A decoder of repeated means and its inverse; ``encoded`` counts pictures."""

    fps, time_stride, encoded = 16, 4, 0

    def start(self) -> int:
        return 0

    def decode(self, states, latents):
        frames = latents[:, :, :3].sigmoid().repeat_interleave(4, 1).repeat_interleave(8, -1).repeat_interleave(8, -2)
        return frames[:, 0 if states[0] else 3 :], [state + latents.shape[1] for state in states]

    def picture(self, shown: Tensor) -> Tensor:
        self.encoded += 1
        return functional.avg_pool2d(shown, 8).repeat(2, 1, 1)[:4][None]


@pytest.mark.parametrize("rebuild", ["encoded", "first"])
@pytest.mark.parametrize("window", [6, 12])
def test_so_they_are_where_memory_is_written_anew(rebuild: Any, window: int) -> None:
    """The oldest latent is the video's first only as long as that one is in the window."""
    torch.manual_seed(0)
    rules = MemoryConfig(window, 0, 0, eviction="discard", positions="relative", rebuild=rebuild)
    text, shows = torch.randn(1, TINY.text_len, TINY.text_dim), Shows()
    model = RebuiltBackbone(WanModel(TINY).eval(), lambda prompt: text, (4, 6), rules, Schedule(), shows, shows.picture)
    started = model.start_from("a", torch.randn(18, *model.chunk_shape[1:], generator=generator(2)))
    given, plain = started.branch, model.start("a")
    for chunk in started.chunks:
        plain = model.commit(plain, chunk, None)
    alone = shows.encoded
    for chunk in started.chunks:
        given = model.give(given, chunk, None)
    assert given.memory.id == plain.memory.id
    assert (alone > 0) == (rebuild == "encoded")
    made = torch.randn(model.chunk_shape, generator=generator(3))
    assert model.commit(given, made, None).memory.id == model.commit(plain, made, None).memory.id


@pytest.mark.parametrize("frames", [0, 1, 2, 4])
def test_given_frames_must_be_whole_chunks(frames: int) -> None:
    with pytest.raises(ConfigError, match=f"^{frames} latent frames to begin with: this model takes whole chunks of 3"):
        backbone().start_from("a", torch.zeros(frames, 4, 4, 6))


def test_frames_to_hold_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"^0 latent frames to begin with: this model takes 1 or more"):
        backbone(starts="held").start_from("a", torch.zeros(0, 4, 4, 6))


def test_what_is_left_over_is_held_until_the_first_chunk_is_made() -> None:
    model = backbone(starts="held")
    latents = torch.randn(4, *model.chunk_shape[1:], generator=generator(1))
    started = model.start_from("a", latents)
    branch = model.give(started.branch, started.chunks[0], None)
    assert branch.held is not None
    assert torch.equal(torch.cat([*started.chunks, branch.held]), latents)
    assert model.commit(branch, latents[:3], None).held is None


@pytest.mark.parametrize("sampler", ["renoise", "euler", "unipc"])
def test_held_frames_stay_as_they_are_and_decide_the_rest(sampler) -> None:
    model = backbone(starts="held", schedule=Schedule(sampler=sampler))
    held = torch.randn(2, *model.chunk_shape[1:], generator=generator(1))
    branch = model.start_from("a", held).branch
    x, fresh = noises(model, [1, 2])
    made, clean = model.denoise([branch, branch], x, fresh, range(model.steps))
    assert torch.equal(made, clean)
    assert torch.equal(made[:, :2], held.expand(2, *held.shape))
    free = model.denoise([model.start("a")] * 2, x, fresh, range(model.steps))[0]
    assert not torch.allclose(made[:, 2:], free[:, 2:], atol=1e-3)
    half, preview = model.denoise([branch, branch], x, fresh, range(2))
    assert torch.equal(preview[:, :2], held.expand(2, *held.shape))
    again = model.denoise([branch, branch], half, fresh, range(2, model.steps))[0]
    assert torch.equal(again, made)
    after = model.commit(branch, made[0], None)
    assert after.held is None


def test_a_first_chunk_of_other_steps_in_a_search() -> None:
    model = backbone(schedule=Schedule((1000, 500), first=(1000, 750, 500, 250)))
    assert isinstance(model, VaryingBackbone)
    models = replace(toy(), backbone=model)
    config = SearchConfig(beam_size=2, top_k=2)
    result = Engine(models, config).run("a", 3, seed=1)
    assert result.cost.model_passes == 4 * (4 + 2 + 2) + 2 * 2
    least = (4 + 1) + (2 + 1) + 2
    kept = Engine(models, replace(config, budget_passes=least)).run("a", 3, seed=1)
    assert kept.cost.model_passes == least
    with pytest.raises(ConfigError, match=f"one sample takes {least}"):
        Engine(models, replace(config, budget_passes=least - 1)).run("a", 3, seed=1)
    early = Engine(models, replace(config, preview_step=2, preview_keep=0.5)).run("a", 3, seed=1)
    assert early.cost.model_passes == 4 * 2 + 2 * 2 + 4 * (2 + 2) + 2 * 2, "later chunks have no step to save"


def test_a_shot_is_told_once_and_stands_later() -> None:
    model = backbone(SHOTS, shot_prefix="cut: ")
    branch = model.start("cut: a")
    latents = torch.randn(3, *model.chunk_shape[1:], generator=generator(1))
    branch = model.commit(model.commit(branch, latents, None), latents, None)
    switched = model.switch(branch, "cut: b", None)
    assert (switched.passes, switched.rewritten) == (0, ())
    branch = model.commit(switched.branch, latents, None)
    assert model.asked == ["a", "b", "cut: b"]  # type: ignore[attr-defined]
    assert branch.memory.pages[-1].position == 6 + 4
    assert branch.prompt.id == model.switch(branch, "b", "keep").branch.prompt.id
    with pytest.raises(ConfigError, match="several shots"):
        model.switch(branch, "c", "recache")


def test_shots_starts_and_held_frames_travel(tmp_path: Path) -> None:
    model, other = (backbone(SHOTS, starts="held", shot_prefix="cut: ") for _ in range(2))
    latents = torch.randn(3, *model.chunk_shape[1:], generator=generator(1))
    held = model.start_from("a", latents[:1]).branch
    opening = model.switch(model.commit(held, latents, None), "b", None).branch
    inside = model.commit(model.commit(opening, latents, None), latents, None)
    x, fresh = noises(model, [5])
    for index, branch in enumerate((held, opening, inside)):
        file = tmp_path / f"{index}.safetensors"
        model.dump(branch).write(file)
        there = other.load(Snapshot.read(file))
        both = [one.denoise([own], x, fresh, range(4))[0] for one, own in ((model, branch), (other, there))]
        assert torch.equal(*both)
        on = [one.commit(own, latents, None) for one, own in ((model, branch), (other, there))]
        assert on[0].memory.id == on[1].memory.id
        assert on[0].prompt.id == on[1].prompt.id
