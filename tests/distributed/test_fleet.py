"""Devices that are lost, that fail, and that come later."""

from __future__ import annotations

import dataclasses
import gc

import pytest
import torch

from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.core.errors import ConfigError, DeviceLostError, OutOfMemoryError, StreamT1Warning
from streamt1.distributed import Fleet, remote_models
from streamt1.distributed.fleet import ATTEMPTS, Want
from streamt1.distributed.jobs import AskFacts
from streamt1.search.engine import Engine
from tests.distributed.links import LocalLink
from tests.distributed.test_models import BASE, SCENES, Shifted, assert_same, make, searched, singly
from tests.search.toy import toy

CONFIG = singly(dataclasses.replace(BASE, beam_size=3, preview_step=2))


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_device_may_be_lost_at_any_request(lost):
    """Every tenth is tried."""
    alone = searched(make(), CONFIG, SCENES, None)
    requests = 0
    for dies_at in range(1 + lost, 400, 10):
        links = [LocalLink(make(), f"device {place}", dies_at if place == lost else None) for place in range(3)]
        fleet = Fleet(links)
        assert_same(alone, searched(remote_models(fleet), CONFIG, SCENES, None))
        if not fleet.lost:
            break
        assert links[lost].closed
        requests = dies_at
    assert requests > 30


@pytest.mark.usefixtures("_quiet")
def test_another_takes_its_place():
    alone, made = searched(make(), CONFIG, SCENES, None), []

    def another(lost):
        made.append(LocalLink(make(), f"{lost.name}'s successor", 25 if len(made) < 3 else None))
        return made[-1]

    fleet = Fleet([LocalLink(make(), "only one", 12)], another)
    assert_same(alone, searched(remote_models(fleet), CONFIG, SCENES, None))
    assert fleet.lost == len(made) >= 2
    assert len(fleet) == 1


@pytest.mark.usefixtures("_quiet")
def test_where_none_is_left_the_search_ends_with_one_error():
    fleet = Fleet([LocalLink(make(), "a", 9), LocalLink(make(), "b", 15)])
    with pytest.raises(DeviceLostError, match="all devices are lost"):
        Engine(remote_models(fleet), CONFIG).run("x", 9)


@pytest.mark.usefixtures("_quiet")
def test_work_that_ends_every_device_is_given_up():
    def another(lost):
        return LocalLink(make(), "the next", 1)  # it answers that it is ready, and dies of the work

    fleet = Fleet([LocalLink(make(), "the first", 0)], another)
    with pytest.raises(DeviceLostError, match=f"{ATTEMPTS} times over the same work"):
        fleet.answer([Want((), AskFacts())])
    assert fleet.lost == ATTEMPTS


def test_the_loss_is_said():
    links = [LocalLink(make(), "the good one"), LocalLink(make(), "the bad one", 8)]
    with pytest.warns(StreamT1Warning, match="the bad one is lost .it was switched off."):
        Engine(remote_models(Fleet(links)), CONFIG).run("x", 5)


class Full(GaussianBackbone):
    """Has no room for the third commit."""

    commits = 0

    def commit(self, branch, latents, route):
        self.commits += 1
        if self.commits == 3:
            raise OutOfMemoryError("the device is full")
        return super().commit(branch, latents, route)


def test_what_a_device_raises_is_raised_and_it_can_be_used_again():
    models = [toy(backbone=Full(), decoder=Shifted()), toy(decoder=Shifted())]
    fleet = Fleet([LocalLink(one, f"device {place}") for place, one in enumerate(models)])
    remote = remote_models(fleet)
    with pytest.raises(OutOfMemoryError, match="the device is full"):
        Engine(remote, singly(BASE)).run("x", 6)
    assert_same(searched(toy(decoder=Shifted()), singly(BASE), "x", 6), searched(remote, singly(BASE), "x", 6))
    assert fleet.lost == 0


class Refusing(GaussianBackbone):
    """Refuses one call of one kind, and nothing after that."""

    def __init__(self, kind: str, at: int) -> None:
        super().__init__()
        self.kind, self.left = kind, at

    def _asked(self, kind: str) -> None:
        if kind == self.kind:
            self.left -= 1
            if self.left == 0:
                raise ConfigError(f"{kind}: not this one")

    def start(self, prompt):
        self._asked("start")
        return super().start(prompt)

    def commit(self, branch, latents, route):
        self._asked("commit")
        return super().commit(branch, latents, route)

    def denoise(self, parents, x, noise, steps):
        self._asked("denoise")
        return super().denoise(parents, x, noise, steps)

    def switch(self, branch, prompt, memory):
        self._asked("switch")
        return super().switch(branch, prompt, memory)


@pytest.mark.parametrize(("kind", "at"), [("start", 1), ("commit", 1), ("commit", 4), ("denoise", 3), ("switch", 1)])
def test_what_all_devices_refuse_is_raised_once(kind: str, at: int):
    """By then, others have refused it as well, and nobody has asked what they say."""
    models = [toy(backbone=Refusing(kind, at), decoder=Shifted()) for _ in range(3)]
    remote = remote_models(Fleet([LocalLink(one, f"device {place}") for place, one in enumerate(models)]))
    with pytest.raises(ConfigError, match=f"{kind}: not this one"):
        searched(remote, singly(BASE), SCENES, None)
    assert all(one.backbone.left <= 0 for one in models if kind != "denoise")
    alone = searched(toy(decoder=Shifted()), singly(BASE), SCENES, None)
    assert_same(alone, searched(remote, singly(BASE), SCENES, None))


def test_what_a_search_did_not_wait_for_may_fail():
    """It was stopped before it heard of it; the next search on these devices does not hear of it either."""
    models = [toy(), toy(backbone=Refusing("commit", 1))]
    fleet = Fleet([LocalLink(one, f"device {place}") for place, one in enumerate(models)])
    backbone = remote_models(fleet).backbone
    branch = backbone.commit(backbone.start("x"), torch.randn(backbone.chunk_shape), None)
    fleet.sync()
    assert models[1].backbone.left == 0
    backbone.release(branch)
    parents = [backbone.start("y")] * 2
    x, noise = torch.randn(2, 1, 1, 1, 1), torch.randn(2, backbone.draws, 1, 1, 1, 1)
    assert backbone.denoise(parents, x, noise, range(4))[1].isfinite().all()


@pytest.mark.parametrize("at", range(1, 9))
def test_nothing_stays_on_a_device_after_an_error(at: int):
    """Requests were under way by then, which made something: that is freed like all else."""
    models = [toy(decoder=Shifted()), toy(backbone=Refusing("commit", at), decoder=Shifted())]
    links = [LocalLink(one, f"device {place}") for place, one in enumerate(models)]
    fleet = Fleet(links)
    remote, wide = remote_models(fleet), singly(dataclasses.replace(BASE, beam_size=2, top_k=2))
    with pytest.raises(ConfigError):
        Engine(remote, wide).run("x", 6)
    gc.collect()
    searched(remote, wide, "y", 3)
    gc.collect()
    for _ in range(2):
        fleet.sync(flush=True)
    assert [list(link.worker._held) for link in links] == [[], []]


def test_what_a_device_has_forgotten_is_made_again():
    """The driver believes that it is there, and is told that it is not."""
    links = [LocalLink(make(), f"device {place}") for place in range(2)]
    remote = remote_models(Fleet(links))
    branch = remote.backbone.start("x")
    latents = torch.randn(3, *remote.backbone.chunk_shape)
    for own in latents:
        branch = remote.backbone.commit(branch, own, None)
    wanted = remote.backbone.inspect(branch)
    for link in links:
        link.worker._held.clear()
        link.worker._parcels.clear()
    x, noise = torch.randn(4, 1, 1, 1, 1), torch.randn(4, remote.backbone.draws, 1, 1, 1, 1)
    clean = remote.backbone.denoise([branch] * 4, x, noise, range(4))[1]
    local = GaussianBackbone()
    own = local.start("x")
    for part in latents:
        own = local.commit(own, part, None)
    alone = [local.denoise([own], x[row : row + 1], noise[row : row + 1], range(4))[1] for row in range(4)]
    assert torch.equal(clean, torch.cat(alone))
    assert wanted is None
