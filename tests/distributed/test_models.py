"""A search over several devices is the same, bit for bit, as over one set of models that takes candidates singly."""

from __future__ import annotations

import dataclasses
import gc

import pytest
import torch

from streamt1 import load_config
from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder, TargetClipReward
from streamt1.core.errors import MemoryIntegrityError, NotFiniteError
from streamt1.core.timeline import Scene, Timeline
from streamt1.core.types import RewardOutput
from streamt1.families.build import build
from streamt1.search.config import POLICIES, SearchConfig, apply_policy
from streamt1.search.engine import Engine, search
from streamt1.search.start import start
from streamt1.search.watcher import Watcher
from tests.distributed.links import spread
from tests.search.toy import toy

PROMPT = "a red circle with a dot circling on a navy striped background"
SCENES = Timeline((Scene("one", 3), Scene("two", 3, "recache"), Scene("three", 2, "cut"), Scene("one", 2, "keep")))
BASE = SearchConfig(beam_size=2, top_k=2, window=3)
SETTINGS = {
    **{policy: apply_policy(policy, BASE) for policy in POLICIES},
    "lag": dataclasses.replace(BASE, lag=1),
    "taper": dataclasses.replace(BASE, beam_size=3, taper=0.5),
    "adaptive": dataclasses.replace(BASE, adaptive=0.5),
    "previews": dataclasses.replace(BASE, beam_size=3, preview_step=2),
    "budget": dataclasses.replace(BASE, budget_passes=60),
    "frames scored": dataclasses.replace(BASE, frames_scored=1),
    "official decoding": dataclasses.replace(BASE, decode="official"),
    "inherited seeds": dataclasses.replace(BASE, seeds="official"),
}


class Sampling(TargetClipReward):
    """Looks at every other frame."""

    def looks_at(self, total, fps):
        return range(0, total, 2)

    def score_seen(self, seen, total, fps, text):
        own = TargetClipReward(self.target + total / fps).score(seen, fps, text)
        return RewardOutput(own.score, {"half": own.score / 2})


class Shifted(IdentityDecoder):
    """Carries the last frame, so that its states matter."""

    def decode(self, states, latents):
        before = torch.stack(
            [torch.zeros_like(own[-1]) if state is None else state for state, own in zip(states, latents)]
        )
        return latents + 0.1 * before[:, None], list(latents[:, -1])


class Everything(Watcher):
    """Keeps what is told, without times, and what settles."""

    def __init__(self):
        self.told, self.shown = [], []

    def happened(self, event):
        record = dataclasses.asdict(event)
        cost = record.pop("cost", None)
        if cost:
            cost.pop("seconds")
        self.told.append((type(event).__name__, repr(record), repr(cost)))

    def settled(self, chunk, frames):
        self.shown.append((chunk, frames.clone()))


def make():
    return toy(decoder=Shifted(), clip_reward=Sampling())


def searched(models, config, prompt, chunks):
    seen = Everything()
    result = Engine(models, config, seen).run(prompt, chunks, seed=5)
    return result, seen


def assert_same(one, other):
    (left, told), (right, heard) = one, other
    assert told.told == heard.told
    assert [chunk for chunk, _ in told.shown] == [chunk for chunk, _ in heard.shown]
    assert all(torch.equal(own, its) for (_, own), (_, its) in zip(told.shown, heard.shown))
    assert torch.equal(left.frames, right.frames)
    assert torch.equal(left.latents, right.latents)
    assert left.final == right.final
    for mine, theirs in zip(left.beams, right.beams, strict=True):
        pairs = list(zip(mine.chunks, theirs.chunks, strict=True))
        assert all(torch.equal(own.frames, its.frames) and own.score == its.score for own, its in pairs)


def singly(config):
    return dataclasses.replace(config, candidate_batch=1)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("scenes", [False, True], ids=["one scene", "scenes"])
def test_the_toy_on_any_number_of_devices(name, scenes):
    config, prompt, chunks = singly(SETTINGS[name]), SCENES if scenes else "x", None if scenes else 7

    def make():
        return toy(decoder=Shifted(), clip_reward=Sampling())

    alone = searched(make(), config, prompt, chunks)
    for count in (1, 2, 3, 4):
        models, links = spread(make, count)
        assert_same(alone, searched(models, config, prompt, chunks))
        gc.collect()
        models.backbone._fleet.sync(flush=True)
        assert [link.worker.models.backbone.live for link in links] == [0] * count
        assert not any(link.worker._held for link in links)


def test_a_draft_decoder_shows_and_the_other_decodes_what_leaves():
    def make():
        return toy(decoder=Shifted(), draft=IdentityDecoder())

    alone = searched(make(), singly(BASE), "x", 6)
    for count in (1, 3):
        models, _ = spread(make, count)
        assert models.draft is not None
        assert_same(alone, searched(models, singly(BASE), "x", 6))


def test_pocket_on_two_devices():
    config = load_config("pocket").effective_search
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    scenes = Timeline((Scene(PROMPT, 2), Scene("a blue star bouncing on a white dotted background", 2, "recache")))
    try:
        alone = searched(build(load_config("pocket")), singly(config), scenes, None)
        models, links = spread(lambda: build(load_config("pocket")), 2)
        assert_same(alone, searched(models, singly(config), scenes, None))
    finally:
        torch.set_num_threads(threads)
    assert all(link.requests > 3 for link in links)


def test_more_devices_than_candidates():
    """Those that have nothing to do at first keep up with the others."""
    alone = searched(toy(decoder=Shifted()), singly(BASE), "x", 6)
    models, links = spread(lambda: toy(decoder=Shifted()), 9)
    assert_same(alone, searched(models, singly(BASE), "x", 6))
    assert min(link.requests for link in links) >= 6


class Broken(GaussianBackbone):
    """Makes NaN for candidates whose noise is high."""

    def denoise(self, parents, x, noise, steps):
        noisy, clean = super().denoise(parents, x, noise, steps)
        bad = (x.flatten(1).mean(1) > 0.3).view(-1, 1, 1, 1, 1)
        return noisy.masked_fill(bad, float("nan")), clean.masked_fill(bad, float("nan"))


def test_numbers_that_are_not_finite_lose_there_too():
    def make():
        return toy(backbone=Broken(), decoder=Shifted())

    alone = searched(make(), singly(dataclasses.replace(BASE, beam_size=4)), "x", 5)
    models, _ = spread(make, 3)
    assert_same(alone, searched(models, singly(dataclasses.replace(BASE, beam_size=4)), "x", 5))
    assert any("not finite" in text for _, text, _ in alone[1].told)


class Bytes(IdentityDecoder):
    """Refuses what is not finite, as decoders of bytes do."""

    def decode(self, states, latents):
        if not bool(latents.isfinite().all()):
            raise NotFiniteError("there is a NaN")
        return (latents.sigmoid() * 255).to(torch.uint8), [None] * len(latents)


def test_a_decoder_that_refuses_is_refused_everywhere():
    def make():
        return toy(backbone=Broken(), decoder=Bytes())

    alone = searched(make(), singly(dataclasses.replace(BASE, beam_size=4)), "x", 4)
    models, _ = spread(make, 2)
    assert_same(alone, searched(models, singly(dataclasses.replace(BASE, beam_size=4)), "x", 4))


def test_branches_are_given_back_once():
    models, _ = spread(toy, 2)
    branch = models.backbone.start("x")
    models.backbone.release(branch)
    with pytest.raises(MemoryIntegrityError, match="twice"):
        models.backbone.release(branch)


def test_two_searches_side_by_side_share_the_devices():
    models, _ = spread(lambda: toy(decoder=Shifted()), 2)
    config = singly(BASE)
    states = [search(models, config, start(models, config, "x", 4, seed)) for seed in (1, 2)]
    pairs = list(zip(*states))
    wanted = [list(search(toy(decoder=Shifted()), config, start(toy(), config, "x", 4, seed))) for seed in (1, 2)]
    for step, (one, other) in enumerate(pairs):
        for own, alone in ((one, wanted[0][step]), (other, wanted[1][step])):
            assert own.lineages == alone.lineages
            latents = [torch.cat([chunk.latents for chunk in beam.chunks]) for beam in own.beams]
            assert all(torch.equal(a, torch.cat([c.latents for c in b.chunks])) for a, b in zip(latents, alone.beams))


def test_what_travels_is_latents_noise_and_settled_frames():
    """With 64 pixels a latent: frames of candidates that lose stay where they are."""

    class Large(IdentityDecoder):
        def decode(self, states, latents):
            return latents.repeat(1, 1, 3, 64, 64), [None] * len(latents)

    class Glimpse(Sampling):
        def looks_at(self, total, fps):
            return [total - 1]

    models, links = spread(lambda: toy(decoder=Large(), clip_reward=Glimpse()), 2)
    chunks, frame = 12, 3 * 64 * 64 * 4
    Engine(models, singly(dataclasses.replace(BASE, beam_size=4, lag=1))).run("x", chunks, seed=1)
    assert sum(link.traffic for link in links) < 1.2 * (chunks + 2) * frame
