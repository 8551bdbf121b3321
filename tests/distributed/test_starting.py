"""Videos that begin with a picture or another video, over several devices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from streamt1 import load_config
from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models, StartingBackbone
from streamt1.distributed import Fleet, remote_models
from streamt1.families.build import build
from streamt1.pipeline.given import picture
from streamt1.search.engine import choose, search
from streamt1.search.start import start
from tests.distributed.links import LocalLink, spread
from tests.distributed.test_models import Everything, assert_same, make, singly

CONFIG = load_config("pocket")
SEARCH = singly(CONFIG.effective_search)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    shades = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(shades).resize((96, 64)).save(path)
    return path


def begun(models: Models, photo: Path) -> Any:
    given, seen = picture(models, photo), Everything()
    state = start(models, SEARCH, "a red circle resting on a teal plain background", 4, 5, seen, given=given.latents)
    try:
        for reached in search(models, SEARCH, state, seen):
            state = reached
        return choose(models, SEARCH, state, seen), seen
    finally:
        state.release(models)


@pytest.fixture(scope="module")
def alone(photo: Path) -> Any:
    return begun(build(CONFIG), photo)


def test_a_video_that_begins_with_a_picture(alone: Any, photo: Path) -> None:
    models, links = spread(lambda: build(CONFIG), 2)
    assert_same(alone, begun(models, photo))
    assert all(link.requests > 3 for link in links)


@pytest.mark.filterwarnings("ignore::streamt1.core.errors.StreamT1Warning")
@pytest.mark.parametrize("dies_at", [4, 9])
def test_what_was_given_is_given_again_to_a_device_that_comes_later(alone: Any, photo: Path, dies_at: int) -> None:
    fleet = Fleet([LocalLink(build(CONFIG), "one", dies_at)], lambda lost: LocalLink(build(CONFIG), "its successor"))
    assert_same(alone, begun(remote_models(fleet), photo))
    assert fleet.lost == 1


def test_what_cannot_begin_so_is_refused_as_on_one_device(photo: Path) -> None:
    models, _ = spread(make, 2)
    assert not isinstance(models.backbone, StartingBackbone)
    with pytest.raises(ConfigError, match="these models begin videos with text alone"):
        picture(models, photo)
    models, _ = spread(lambda: build(CONFIG), 1)
    with pytest.raises(ConfigError, match="2 latent frames to begin with: this model takes whole chunks of 3"):
        models.backbone.start_from("a red circle", torch.zeros(2, 8, 8, 8))  # type: ignore[attr-defined]


def test_a_start_that_all_devices_refuse_is_told_once(alone: Any, photo: Path) -> None:
    """Each of them has refused it, and only one has been heard by then."""
    models, links = spread(lambda: build(CONFIG), 3)
    backbone = models.backbone
    assert isinstance(backbone, StartingBackbone)
    with pytest.raises(ConfigError, match="takes whole chunks of 3"):
        backbone.start_from("a red circle", torch.zeros(2, 8, 5, 5))
    assert_same(alone, begun(models, photo))
    assert all(link.requests > 3 for link in links)
