"""Rewards on devices of their own: the same search, bit for bit, whatever is lost."""

from __future__ import annotations

import dataclasses
import gc
from concurrent.futures import Future

import pytest
import torch

from streamt1 import load_config
from streamt1.backbones.gaussian import IdentityDecoder, TargetFrameReward
from streamt1.core.errors import DeviceLostError
from streamt1.core.protocols import Elsewhere
from streamt1.core.remote import gathered
from streamt1.distributed import Fleet, Scorers, remote_models
from streamt1.distributed.seats import ATTEMPTS
from streamt1.families.build import build
from streamt1.search.engine import Engine
from tests.distributed.links import LocalLink, generator, rewards, spread_apart
from tests.distributed.test_models import (
    BASE,
    PROMPT,
    SCENES,
    SETTINGS,
    Broken,
    Bytes,
    Sampling,
    Shifted,
    assert_same,
    make,
    searched,
    singly,
)
from tests.search.toy import toy

WIDE = singly(dataclasses.replace(BASE, beam_size=4))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("scenes", [False, True], ids=["one scene", "scenes"])
def test_the_toy_with_rewards_of_their_own(name, scenes):
    config, prompt, chunks = singly(SETTINGS[name]), SCENES if scenes else "x", None if scenes else 6
    alone = searched(make(), config, prompt, chunks)
    for makers, scorers in ((2, 1),) if scenes else ((1, 1), (3, 2)):
        models, own, apart, asked = spread_apart(make, makers, scorers)
        assert models.group == makers
        assert_same(alone, searched(models, config, prompt, chunks))
        gc.collect()
        models.backbone._fleet.sync(flush=True)
        asked.flush()
        assert not any(link.worker._held for link in (*own, *apart))
        assert all(link.requests for link in apart)


@pytest.mark.parametrize("group", [1, 3])
def test_groups_change_nothing_where_all_models_are_here(group):
    config = singly(dataclasses.replace(BASE, beam_size=3, preview_step=2))
    alone = searched(make(), config, SCENES, None)
    assert_same(alone, searched(dataclasses.replace(make(), group=group), config, SCENES, None))


def test_numbers_that_are_not_finite_lose_there_too():
    for decoder in (Shifted, Bytes):

        def broken(decoder=decoder):
            return toy(backbone=Broken(), decoder=decoder())

        alone = searched(broken(), WIDE, "x", 5)
        for makers in (1, 3):
            models, *_ = spread_apart(broken, makers, 1)
            assert_same(alone, searched(models, WIDE, "x", 5))
        assert any("not finite" in text for _, text, _ in alone[1].told)


def test_a_draft_decoder_shows_them_their_frames():
    def drafted():
        return toy(decoder=Shifted(), draft=IdentityDecoder(), clip_reward=Sampling())

    models, *_ = spread_apart(drafted, 2, 1)
    assert models.draft is not None
    assert_same(searched(drafted(), singly(BASE), "x", 6), searched(models, singly(BASE), "x", 6))


def test_pocket_with_a_reward_device():
    config, threads = load_config("pocket").effective_search, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = searched(build(load_config("pocket")), singly(config), PROMPT, 2)
        models, *_ = spread_apart(lambda: build(load_config("pocket")), 1, 1)
        assert_same(alone, searched(models, singly(config), PROMPT, 2))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("lost", ["reward device 0", "reward device 1", "device 1"])
def test_any_device_may_be_lost_at_any_request(lost):
    """Each of a short search with previews; every third of a generator."""
    config, chunks = singly(dataclasses.replace(BASE, beam_size=3, preview_step=2)), 3
    alone, requests = searched(make(), config, "x", chunks), 0
    for dies_at in range(0 if lost[0] == "r" else 2, 400, 1 if lost[0] == "r" else 3):
        own = [
            LocalLink(generator(make()), f"device {at}", dies_at if lost == f"device {at}" else None) for at in (0, 1)
        ]
        apart = [
            LocalLink(rewards(make()), name, dies_at if lost == name else None)
            for name in ("reward device 0", "reward device 1")
        ]
        fleet, scorers = Fleet(own), Scorers(apart)
        assert_same(alone, searched(remote_models(fleet, scorers), config, "x", chunks))
        if not fleet.lost + scorers.lost:
            break
        requests = dies_at
    assert requests > 15


@pytest.mark.usefixtures("_quiet")
def test_another_takes_the_place_of_the_only_one():
    alone, made = searched(make(), WIDE, SCENES, None), []

    def another(lost):
        made.append(LocalLink(rewards(make()), f"{lost.name}'s successor", 9 if len(made) < 3 else None))
        return made[-1]

    scorers = Scorers([LocalLink(rewards(make()), "only one", 12)], another)
    models = remote_models(Fleet([LocalLink(generator(make()))]), scorers)
    assert_same(alone, searched(models, WIDE, SCENES, None))
    assert scorers.lost == len(made) >= 3
    assert len(scorers) == 1


@pytest.mark.usefixtures("_quiet")
def test_where_none_is_left_the_search_ends_with_one_error():
    scorers = Scorers([LocalLink(rewards(make()), "a", 9), LocalLink(rewards(make()), "b", 5)])
    models = remote_models(Fleet([LocalLink(generator(make()))]), scorers)
    with pytest.raises(DeviceLostError, match="all reward devices are lost"):
        Engine(models, WIDE).run("x", 9)


class Ends:
    """A job that no device survives."""

    def do(self, worker):
        raise AssertionError("it is not answered")


class Fragile(LocalLink):
    def submit(self, request):
        if any(isinstance(job, Ends) for job in request.jobs):
            self.dies_at = 0
        return super().submit(request)


@pytest.mark.usefixtures("_quiet")
def test_a_question_that_ends_every_device_is_given_up():
    scorers = Scorers([Fragile(rewards(make()))], lambda lost: Fragile(rewards(make())))
    with pytest.raises(DeviceLostError, match=f"reward devices were lost {ATTEMPTS} times"):
        scorers.answer(Ends())
    assert scorers.lost == ATTEMPTS


class Picky(TargetFrameReward):
    """Fails at the third clip."""

    asked = 0

    def score(self, frames, text):
        self.asked += 1
        if self.asked == 3:
            raise ValueError("the third")
        return super().score(frames, text)


def test_what_a_reward_raises_is_raised_and_it_can_be_used_again():
    picky = Picky()
    models, *_ = spread_apart(lambda: toy(decoder=Shifted(), frame_reward=picky, clip_reward=Sampling()), 2, 1)
    with pytest.raises(ValueError, match="the third"):
        Engine(models, WIDE).run("x", 4)
    assert_same(searched(make(), WIDE, "x", 4), searched(models, WIDE, "x", 4))


def test_what_a_device_has_forgotten_is_sent_again():
    models, _, (apart,), _ = spread_apart(make, 1, 1)
    frames, _ = models.decoder.decode([None], torch.randn(1, *models.backbone.chunk_shape))
    wanted = models.frame_reward.score(frames[0].here()[None], "x").bring().score
    clips = [[frames[0]]]
    for _ in range(2):
        assert torch.equal(models.frame_reward.score(gathered(clips, None), "x").bring().score, wanted)
        apart.worker._held.clear()


class Held(LocalLink):
    """Answers when it is told to."""

    def __init__(self, models, name="held"):
        super().__init__(models, name)
        self.waiting, self.open = [], False

    def submit(self, request):
        if self.open:
            return super().submit(request)
        answer = Future()
        self.waiting.append((request, answer))
        return answer

    def answer_all(self):
        self.open = True
        for request, answer in self.waiting:
            answer.set_result(super().submit(request).result())
        self.waiting = []


class Watched(LocalLink):
    """Counts what the reward device still owes when this one is asked to denoise."""

    def __init__(self, models, apart):
        super().__init__(models)
        self.apart, self.owed = apart, []

    def submit(self, request):
        kinds = [type(job).__name__ for job in request.jobs]
        if "Denoise" in kinds:
            self.owed.append(len(self.apart.waiting))
        if len(self.owed) == 4 and not self.apart.open and "Apply" not in kinds and "Bring" in kinds:
            self.apart.answer_all()
        return super().submit(request)


def test_a_group_is_scored_while_the_next_is_made():
    """The reward device says nothing until the last group has been decoded."""
    apart = Held(rewards(make()))
    apart.open = True
    own = Watched(generator(make()), apart)
    models = remote_models(Fleet([own]), Scorers([apart]))
    models.clip_reward.looks_at(1, models.decoder.fps)
    apart.open = False
    Engine(models, singly(dataclasses.replace(BASE, beam_size=4, top_k=1))).run("x", 1)
    assert own.owed == [0, 2, 4, 6], "two questions more with every candidate, and none was waited for"


def test_frames_are_sent_once_to_a_device():
    class Large(IdentityDecoder):
        def decode(self, states, latents):
            return latents.repeat(1, 1, 3, 64, 64), [None] * len(latents)

    models, _, (apart,), _ = spread_apart(lambda: toy(decoder=Large(), clip_reward=Sampling()), 2, 1)
    chunks, frame = 8, 3 * 64 * 64 * 4
    Engine(models, singly(dataclasses.replace(BASE, beam_size=2, top_k=2, window=4))).run("x", chunks, seed=1)
    candidates = 2 * 2 * chunks
    finals = 2 * chunks
    assert apart.traffic < 1.1 * (candidates + finals) * frame


def test_a_model_that_is_elsewhere_says_so():
    with pytest.raises(AttributeError, match="does not hold the model"):
        _ = Elsewhere().score
