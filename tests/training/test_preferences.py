"""What the rewards are trained on: spoilt clips, other texts, and the order among them."""

import numpy as np
import pytest
import torch

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pocket.oracle import LONG, measure
from streamt1.pocket.paths import sample_take
from streamt1.pocket.scenes import is_held_out, parse, sample_scene
from streamt1.pocket.stories import first_frame, sample_story
from streamt1.pocket.world import render
from streamt1.training import preferences
from streamt1.training.degrade import MOTION, PICTURE, Spoil, agreement, mismatch
from streamt1.training.dit import Pocket
from streamt1.training.preferences import (
    MEMBERS,
    READINGS,
    SEEN,
    Groups,
    branch_groups,
    oracle_labels,
    spoilt_group,
    turning_groups,
)
from tests.training.test_dit import TINY


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("spoil", PICTURE + MOTION, ids=lambda f: f.__name__)
def test_spoiling_keeps_shape_and_range_and_changes_the_clip(spoil: Spoil, rng: np.random.Generator):
    scene = parse("a red star bouncing on a navy striped background")
    clip = torch.from_numpy(render(scene, sample_take(rng, scene), 21)).float()
    for strength in (0.05, 1.0):
        worse = spoil(clip, strength, rng)
        assert worse.shape == clip.shape
        assert worse.min() >= 0
        assert worse.max() <= 1
    assert not torch.equal(worse, clip)


def test_a_mismatched_text_says_how_much_still_fits(rng: np.random.Generator):
    for _ in range(100):
        scene = sample_scene(rng, two=0.3)
        words = int(rng.integers(1, 4))
        other, fits, fits_still = mismatch(scene, words, rng)
        assert not any(is_held_out(thing) for thing in other.things)
        assert (fits, fits_still) == pytest.approx(agreement(scene, other))
        assert fits < 1


def test_a_group_holds_its_members_labels_and_bytes(rng: np.random.Generator):
    scenes = [sample_scene(rng) for _ in range(2)]
    clips = [torch.from_numpy(render(scene, sample_take(rng, scene), 81)).float() for scene in scenes]
    group = spoilt_group(scenes[0], clips[0], (scenes[1], clips[1]), clips[0], rng)
    assert group.clips.shape[:2] == (1, MEMBERS)
    assert group.readings.shape == (1, MEMBERS, SEEN, len(READINGS))
    assert group.labels[0, 0].tolist() == pytest.approx([1, 1, 1], abs=0.02)
    assert (group.labels[0, 1:] <= 1).all()
    assert Groups.join([group, group]).clips.shape[0] == 2


def test_a_change_of_scene_that_never_comes_is_labelled_as_worse() -> None:
    torch.manual_seed(0)
    groups = turning_groups(PocketDecoder.bundled(), 3, seed=1)
    assert groups.clips.shape[:2] == (3, MEMBERS)
    text = groups.labels[groups.lengths >= LONG, :, 2]
    assert len(text), "one of three clips is long enough"
    assert (text[:, :2] > text[:, 2:4].amax(1, keepdim=True) + 0.1).all(), "on time against never"
    assert (text[:, 4:6].amin(1) > text[:, 2:4].amax(1) + 0.05).all(), "late against never"


def test_the_oracle_labels_a_true_clip_as_perfect(rng: np.random.Generator):
    scene = sample_scene(rng, two=0.0)
    clip = render(scene, sample_take(rng, scene), 33)
    assert oracle_labels(measure(clip, scene)) == pytest.approx((1, 1, 1), abs=0.02)


def test_branched_groups_begin_with_their_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny transformer's candidates: lengths follow from the shots, prompts are those of the scene."""
    monkeypatch.setattr(preferences, "PROMPTS", 2)
    torch.manual_seed(0)
    groups = branch_groups([Pocket(TINY).eval()], PocketDecoder.bundled(), 2, seed=3, chunks=6)
    rng = np.random.default_rng((3, 43))
    stories = [sample_story(rng, 6) for _ in range(2)]
    expected = []
    for chunk in range(6):
        for story in stories:
            shot = next(shot for shot in reversed(story.shots) if shot.begin <= chunk)
            expected.append((first_frame(chunk + 1) - first_frame(shot.begin), shot.scene.prompt))
    assert groups.lengths.tolist() == [length for length, _ in expected]
    assert torch.equal(groups.tokens[:, 0], pad_tokens([prompt for _, prompt in expected]))
    assert groups.labels[:, -1].mean() > 0.93, "the last member is true"
    assert groups.labels[:, :-1].mean() < 0.8
