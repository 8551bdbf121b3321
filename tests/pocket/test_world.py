"""The world draws what its prompts say, and the oracle reads it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from streamt1.backbones.pocket.text import TextConfig, TextEncoder
from streamt1.core.errors import PromptError
from streamt1.pocket.oracle import SIGHTS, details, locate, measure
from streamt1.pocket.paths import Take, positions, sample_take
from streamt1.pocket.scenes import (
    HELD_OUT,
    PAIRED_MOTIONS,
    Ground,
    Scene,
    Thing,
    evaluation_scenes,
    is_held_out,
    parse,
    sample_scene,
)
from streamt1.pocket.vocabulary import MOTIONS, SHAPES, TEXT_LENGTH, WORDS, tokenize
from streamt1.pocket.world import OBJECT_RGB, render, sample_clip
from streamt1.rewards.pocket import FrameNet, PocketFrameReward, RewardConfig


def alone(thing: Thing, *grounds: Ground) -> Scene:
    return Scene((thing,), grounds or (Ground("black", "plain"),))


def test_prompts_parse_back_to_their_scenes():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = sample_scene(rng, two=0.5)
        assert parse(scene.prompt) == scene
        assert len(tokenize(scene.prompt)) <= TEXT_LENGTH


def test_tokenize_ignores_case_and_punctuation():
    assert tokenize("An Orange star, RESTING on a grey plain background.") == tokenize(
        "a orange star resting on a gray plain background"
    )
    assert tokenize("a") == [WORDS.index("a") + 1]


def test_unknown_word_names_itself_its_neighbour_and_the_vocabulary():
    with pytest.raises(PromptError, match=r"'squar'.*'square'.*teal"):
        tokenize("a red squar resting")


@pytest.mark.parametrize("prompt", ["", " , ", "a " * 17])
def test_empty_and_long_prompts_are_refused(prompt: str):
    with pytest.raises(PromptError):
        tokenize(prompt)


@pytest.mark.parametrize("prompt", ["a red circle", "a circle red sliding on a black plain background", "a a a a"])
def test_sentences_outside_the_grammar_have_no_scene(prompt: str):
    with pytest.raises(PromptError):
        parse(prompt)


def test_clips_follow_from_their_seed():
    first, again = (sample_clip(np.random.default_rng(3), 9) for _ in range(2))
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])
    assert first[1].shape == (9, 3, 64, 64)
    assert first[1].min() >= 0
    assert first[1].max() <= 1


def test_a_later_start_continues_the_same_clip():
    rng = np.random.default_rng(1)
    scene = sample_scene(rng)
    take = sample_take(rng, scene)
    assert np.array_equal(render(scene, take, 20)[12:], render(scene, take, 8, start=12))


def test_objects_stay_in_frame_for_a_minute():
    rng = np.random.default_rng(2)
    for motion in PAIRED_MOTIONS:
        for shape in SHAPES:
            track = positions(sample_take(rng, alone(Thing("red", shape, motion))).paths[0], 960)
            assert track.min() > 10
            assert track.max() < 54


@pytest.mark.parametrize("motion", ["crossing", "hiding"])
def test_objects_that_leave_start_in_sight_and_come_back(motion: str):
    rng = np.random.default_rng(8)
    for shape in SHAPES:
        scene = alone(Thing("red", shape, motion), Ground("black", "plain"))
        clip = render(scene, sample_take(rng, scene), 480)
        red = (clip[:, 0] > 0.8) & (clip[:, 1] < 0.3)
        seen = red.sum((1, 2)) > 20
        assert seen[:5].all()
        away = np.flatnonzero(np.diff(seen.astype(int)) == -1)
        back = np.flatnonzero(np.diff(seen.astype(int)) == 1)
        assert len(away) >= 5
        assert len(back) >= len(away) - 1


def test_backgrounds_take_turns_at_chunk_boundaries():
    rng = np.random.default_rng(9)
    scene = alone(Thing("red", "star", "resting"), Ground("navy", "plain"), Ground("white", "dotted"))
    take = sample_take(rng, scene)
    clip = render(scene, take, 480)
    changes = np.flatnonzero(np.abs(np.diff(clip[:, :, 0, 0], axis=0)).sum(1) > 0.5) + 1
    assert changes.tolist() == [cut for cut in take.cuts if cut < 480]
    assert all((cut - 9) % 12 == 0 for cut in changes)
    assert np.diff(changes).max() <= 48


def test_training_never_sees_the_held_out_combinations_and_evaluation_sees_nothing_else():
    rng = np.random.default_rng(4)
    drawn = [thing for _ in range(3000) for thing in sample_scene(rng, two=0.3).things]
    assert not any(is_held_out(thing) for thing in drawn)
    seen = {(t.colour, t.shape, t.motion) for t in drawn}
    assert len(seen) == len(OBJECT_RGB) * len(SHAPES) * len(MOTIONS) - len(HELD_OUT)
    scenes = evaluation_scenes(64)
    assert all(is_held_out(scene.things[0]) for scene in scenes)
    assert len({scene.prompt for scene in scenes}) == 64
    assert {scene.things[0].motion for scene in scenes} == set(MOTIONS)


def test_oracle_reads_true_renders_as_true():
    rng = np.random.default_rng(5)
    for two in (0.0, 1.0):
        means = [measure(clip, scene).mean for scene, clip in (sample_clip(rng, 81, two=two) for _ in range(12))]
        assert np.mean(means) >= 0.97


def test_oracle_tells_every_motion_and_shape_apart():
    rng = np.random.default_rng(6)
    for motion in MOTIONS:
        scene = alone(Thing("green", "star", motion), Ground("navy", "striped"))
        clip = render(scene, sample_take(rng, scene), 81)
        for other in MOTIONS:
            asked = alone(Thing("green", "star", other), Ground("navy", "striped"))
            assert (measure(clip, asked).motion.mean() > 0.5) == (motion == other)
    for shape in SHAPES:
        scene = alone(Thing("red", shape, "resting"), Ground("white", "dotted"))
        clip = render(scene, sample_take(rng, scene), 5)
        for other in SHAPES:
            asked = alone(Thing("red", other, "resting"), Ground("white", "dotted"))
            assert (measure(clip, asked).shape.mean() > 0.5) == (shape == other)


def test_oracle_sees_a_missing_object_a_wrong_colour_and_a_wrong_background():
    rng = np.random.default_rng(7)
    teal = Ground("teal", "plain")
    scene = alone(Thing("blue", "square", "sliding"), teal)
    take = sample_take(rng, scene)
    empty = measure(render(Scene((), (teal,)), Take(()), 20), scene)
    assert empty.presence.max() == 0
    assert empty.motion.max() == 0
    red = measure(render(alone(Thing("red", "square", "sliding"), teal), take, 20), scene)
    assert red.colour.max() == 0
    assert red.shape.min() == 1
    striped = measure(render(Scene(scene.things, (Ground("brown", "striped"),)), take, 20), scene)
    assert striped.background.max() < 0.6


def test_oracle_remembers_the_size_and_the_tone_of_a_detail():
    rng = np.random.default_rng(10)
    scene = alone(Thing("red", "circle", "resting", "dot"))
    take = sample_take(rng, scene)
    path = replace(take.paths[0], choice=1)
    first = render(scene, Take((path,)), 30)
    for change, low, high in (
        ({}, 0.98, 1.0),
        ({"choice": 0}, 0.45, 0.55),
        ({"radius": path.radius * 0.8}, 0.4, 0.5),
    ):
        later = render(scene, Take((replace(path, **change),)), 30)
        memory = measure(np.concatenate([first, later]), scene).memory
        assert memory[:30].min() > 0.98
        assert low <= memory[30:].mean() <= high
    barred = render(alone(Thing("red", "circle", "resting", "bar")), Take((path,)), 30)
    assert measure(barred, scene).memory.max() <= 0.5


@pytest.mark.parametrize("detail", ["patch", "cap"])
@pytest.mark.parametrize("shape", SHAPES)
def test_oracle_remembers_which_half_is_painted(detail: str, shape: str):
    rng = np.random.default_rng(13)
    scene = alone(Thing("purple", shape, "resting", detail), Ground("white", "dotted"))
    path = sample_take(rng, scene).paths[0]
    one, other = (render(scene, Take((replace(path, choice=choice),)), 30) for choice in (0, 1))
    for choice, clip in enumerate((one, other)):
        reading = measure(clip, scene)
        assert reading.mean > 0.97
        clear, form, whole = details(clip, scene)
        assert whole.all()
        assert clear.min() > 0.6
        assert set(form) == {choice}
    assert measure(np.concatenate([one, other]), scene).memory[30:].mean() < 0.55, "the other half"
    swapped = alone(Thing("purple", shape, "resting", "cap" if detail == "patch" else "patch"), *scene.grounds)
    assert details(one, swapped)[0].max() < 0.35
    bare = alone(Thing("purple", shape, "resting"), *scene.grounds)
    plain = render(bare, Take((path,)), 30)
    assert details(plain, scene)[0].max() == 0
    assert measure(plain, scene).memory.max() <= 0.5


def test_details_are_of_scenes_that_name_one():
    scene = alone(Thing("red", "circle", "resting"))
    with pytest.raises(ValueError, match="names no detail"):
        details(render(scene, sample_take(np.random.default_rng(0), scene), 9), scene)


def test_locate_tells_the_painted_half():
    scene = parse("a yellow square with a cap resting on a black striped background")
    path = sample_take(np.random.default_rng(2), scene).paths[0]
    upper, lower = (
        locate(render(scene, Take((replace(path, choice=choice),)), 9), scene)[:, SIGHTS.index("tone")]
        for choice in (0, 1)
    )
    assert upper.max() < -0.8
    assert lower.min() > 0.8


def test_oracle_excuses_an_object_that_leaves_but_not_one_that_vanishes():
    rng = np.random.default_rng(11)
    scene = alone(Thing("green", "square", "crossing"))
    take = sample_take(rng, scene)
    clip = render(scene, take, 81)
    assert measure(clip, scene).presence.min() == 1
    turned = np.concatenate([clip[:60], clip[60:0:-1]])
    assert measure(turned, scene).memory[-20:].max() < 0.6, "it must go on the way that it went"
    seen = (clip[:, 1] > 0.6).sum((1, 2))
    whole = int(np.flatnonzero(seen > 0.95 * seen.max())[0])
    gone = np.concatenate([clip[: whole + 1], np.repeat(render(Scene((), scene.grounds), Take(()), 1), 30, axis=0)])
    assert measure(gone, scene).presence[whole + 1 :].max() == 0


def test_oracle_wants_both_backgrounds_to_show():
    rng = np.random.default_rng(12)
    scene = alone(Thing("red", "star", "resting"), Ground("navy", "plain"), Ground("white", "dotted"))
    take = sample_take(rng, scene)
    assert measure(render(scene, take, 90), scene).background.mean() > 0.98
    assert measure(render(scene, replace(take, cuts=()), 90), scene).background.max() < 0.1


def test_locate_says_where_the_object_is_and_what_tone_and_background_it_has():
    rng = np.random.default_rng(3)
    scene = parse("a red star with a dot crossing on a navy plain then teal dotted background")
    take = sample_take(rng, scene)
    clip = render(scene, take, 81)
    sights = dict(zip(SIGHTS, locate(clip, scene).T, strict=True))
    reading = measure(clip, scene)
    assert 0 < sights["seen"].mean() < 1, "it leaves the frame and comes back"
    shown = (sights["seen"] > 0) & (np.abs(sights["x"]) < 0.5)
    steps = np.abs(np.diff(sights["x"]))[shown[1:] & shown[:-1]]
    assert 0.01 < np.median(steps) < 0.2
    assert np.abs(sights["tone"][shown]).min() > 0.1
    assert len(set(np.sign(sights["tone"][shown]))) == 1
    assert set(np.sign(sights["ground"])) == {-1.0, 1.0}
    assert reading.mean > 0.97
    single = parse("a red star resting on a navy plain background")
    assert not locate(render(single, sample_take(rng, single), 9), single)[:, SIGHTS.index("ground")].any()


def test_weights_that_were_trained_on_fewer_words_say_so():
    prompt = "a red circle with a cap resting on a navy plain background"
    text = TextEncoder(TextConfig(words=len(WORDS) - 1))
    with pytest.raises(PromptError, match=r"do not know the word 'cap' yet; they know: a, and.*then$"):
        text.encode(prompt)
    assert text.encode(prompt.replace("with a cap ", "")).shape == (1, TEXT_LENGTH, 128)
    reward = PocketFrameReward(FrameNet(RewardConfig(words=len(WORDS) - 1)), torch.zeros(()), torch.ones(()))
    with pytest.raises(PromptError, match="'cap'"):
        reward.score(torch.zeros(1, 1, 3, 64, 64), prompt)
