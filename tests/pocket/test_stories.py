"""Stories change their scenes at chunk boundaries, and what comes back is what it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from streamt1.pocket import stories
from streamt1.pocket.identity import identity
from streamt1.pocket.oracle import measure
from streamt1.pocket.paths import sample_take
from streamt1.pocket.scenes import is_held_out
from streamt1.pocket.stories import CHUNKS, Story, evaluation_casts, first_frame, render_story, sample_story
from streamt1.pocket.world import render


@pytest.fixture(scope="module")
def drawn() -> list[Story]:
    rng = np.random.default_rng(0)
    return [sample_story(rng) for _ in range(300)]


def test_stories_fill_their_chunks_and_hold_no_held_out_combination(drawn: list[Story]) -> None:
    for story in drawn:
        assert len(story.prompts) == CHUNKS
        assert [shot.begin for shot in story.shots] == np.cumsum([0, *(s.chunks for s in story.shots)])[:-1].tolist()
        assert not any(is_held_out(thing) for shot in story.shots for thing in shot.scene.things)
    assert {len(story.shots) for story in drawn} == {1, 2, 3, 4}


def test_what_returns_has_left_the_window_and_is_the_same_take(drawn: list[Story]) -> None:
    returns = 0
    for story in drawn:
        last: dict[str, int] = {}
        for shot in story.shots:
            prompt = shot.scene.prompt
            if prompt in last:
                returns += 1
                assert shot.begin - last[prompt] >= 2, "chunks between"
                assert shot.take is next(s.take for s in story.shots if s.scene == shot.scene)
            last[prompt] = shot.begin + shot.chunks
    assert returns > 60


def test_starts_are_first_showings_of_later_scenes(drawn: list[Story]) -> None:
    for story in drawn:
        for start in story.starts:
            assert story.prompts[start] not in story.prompts[:start]
        assert len(story.starts) == len(set(story.prompts)) - 1


def test_the_oracle_reads_every_scene_and_every_return_as_true(drawn: list[Story]) -> None:
    for story in drawn[:40]:
        clip, shown = render_story(story), dict[str, np.ndarray]()
        assert clip.shape == (81, 3, 64, 64)
        for shot in story.shots:
            part = clip[first_frame(shot.begin) : first_frame(shot.begin + shot.chunks)]
            if shot.chunks > 2:
                assert measure(part, shot.scene).mean > 0.9
            if shot.scene.prompt in shown and len(shot.scene.things) == 1 and shot.scene.things[0].motion != "hiding":
                assert identity(shown[shot.scene.prompt], part, shot.scene) > 0.9
            shown.setdefault(shot.scene.prompt, part)


def test_an_object_that_changes_its_motion_or_place_keeps_its_size_and_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "KINDS", {"changed": 1.0})
    rng = np.random.default_rng(1)
    for story in [sample_story(rng) for _ in range(60)]:
        assert len({shot.scene for shot in story.shots}) == len(story.shots) > 1
        for before, after in zip(story.shots, story.shots[1:], strict=False):
            one, other = before.scene.things[0], after.scene.things[0]
            assert (one.colour, one.shape, one.detail) == (other.colour, other.shape, other.detail)
            assert (one.motion != other.motion) + (before.scene.grounds != after.scene.grounds) == 1
            assert before.take.paths[0].radius == after.take.paths[0].radius
            assert before.take.paths[0].choice == after.take.paths[0].choice


def test_casts_take_turns_in_their_details_and_no_two_are_alike() -> None:
    for count, scenes in ((48, 1), (48, 2), (48, 3), (48, 6), (64, 4)):
        casts = evaluation_casts(count, scenes)
        assert len(set(casts)) == count
        for place in range(scenes):
            found = Counter(cast[place].things[0].detail for cast in casts)
            assert max(found.values()) - min(found.values()) <= 1, (scenes, place)


def test_a_return_is_compared_with_what_was_shown_first() -> None:
    """A true return reads 1, and one of an object that was not shown at first 0, however true the rest is."""
    rng, others = np.random.default_rng(3), list[float]()
    for [scene] in evaluation_casts(28, 1):
        take, other = (sample_take(rng, scene) for _ in range(2))
        first, again, differing = render(scene, take, 81), render(scene, take, 84, 81), render(scene, other, 84)
        empty = render(replace(scene, things=()), replace(take, paths=()), 81)
        assert identity(empty, again, scene) == 0
        assert identity(first, again, scene) > 0.9, scene.prompt
        others.append(identity(first, differing, scene))
    assert np.mean(others) < 0.75
