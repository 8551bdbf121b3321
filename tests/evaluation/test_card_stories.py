"""The card of stories, judged on true renders: what a perfect model would get, and what a forgetful one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from streamt1.core.timeline import Timeline
from streamt1.evaluation.agreement import HEADS
from streamt1.evaluation.card_stories import CHUNKS, SCENES, clear_chunks, draw_stories, measure_stories
from streamt1.pocket.paths import Take, sample_take
from streamt1.pocket.scenes import is_held_out, parse
from streamt1.pocket.stories import evaluation_casts, first_frame
from streamt1.pocket.world import render
from tests.evaluation.oracles import oracles


@dataclass
class Made:
    frames: torch.Tensor


class Renderer:
    """A model that shows just what is asked for; one that forgets makes a new take of what returns."""

    def __init__(self, forgets: bool = False) -> None:
        self.forgets = forgets
        self.models = oracles()

    def run(self, timeline: Timeline, chunks: None, seed: int, policy: str) -> Made:
        takes, parts, begin = dict[str, Take](), [], 0
        for number, part in enumerate(timeline.scenes):
            scene, length = parse(part.prompt), part.chunks or 0
            if part.prompt not in takes or self.forgets:
                takes[part.prompt] = sample_take(np.random.default_rng((seed, number)), scene, opening=number == 0)
            parts.append(render(scene, takes[part.prompt], first_frame(begin + length) - first_frame(begin)))
            begin += length
        return Made(torch.from_numpy(np.concatenate(parts)))


class OwnPool:
    """A pool of one process, of a given pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def map(self, work: Callable[[Any, Any], Any], tasks: Any) -> list[Any]:
        return [work(self.pipeline, task) for task in tasks]


def test_a_model_that_shows_what_is_asked_gets_all() -> None:
    card = measure_stories(OwnPool(Renderer()), OwnPool(Renderer(True)), 6)  # type: ignore[arg-type]
    assert all(card[f"scene_{number}"]["mean"] > 0.9 for number in range(1, SCENES + 1))
    assert abs(card["later_less_first"]["mean"]) < 0.1
    assert card["clear_in_first_scenes"]["mean"] == card["clear_after_a_switch"]["mean"] == 1
    assert card["identity_aba"]["mean"] > 0.97
    assert card["identity_aba_without_sink"]["mean"] < card["identity_aba"]["mean"] - 0.15
    assert card["identity_aba_gained_by_sink"]["low"] > 0
    assert card["identity_aba_without_sink"]["n"] == card["identity_aba"]["n"] == 6
    assert set(card["new_above_old"].values()) == {1.0}, "the scene before has another object and another ground"
    assert set(card["spearman_after_a_switch"]) == set(card["spearman_of_scenes"]) == {"frame", *HEADS}


def test_an_unclear_detail_is_unclear_and_an_unseen_object_is_not_judged() -> None:
    scene, bare = (parse(f"a red circle{detail} resting on a navy plain background") for detail in (" with a cap", ""))
    take = sample_take(np.random.default_rng(0), scene)
    assert clear_chunks(render(scene, take, 33), scene, 0).tolist() == [1, 1, 1]
    assert clear_chunks(render(bare, take, 24), scene, 3).tolist() == [0, 0]
    away = render(parse("a red circle crossing on a navy plain background"), take, 12)
    away[:] = away[:, :, :1, :1]
    assert clear_chunks(away, scene, 1).tolist() == []


def test_held_out_stories_hold_nothing_else_and_neighbours_differ() -> None:
    for cast in evaluation_casts(30, 6):
        assert all(is_held_out(scene.things[0]) and scene.things[0].detail for scene in cast)
        for one, other in pairwise(cast):
            assert one.things[0].colour != other.things[0].colour
            assert one.grounds != other.grounds
    assert evaluation_casts(3, 4) == evaluation_casts(5, 4)[:3]


@pytest.mark.parametrize("scenes", [6])
def test_a_sheet_has_a_row_for_each_story(scenes: int) -> None:
    sheet = draw_stories(OwnPool(Renderer()), 2, 0)  # type: ignore[arg-type]
    assert sheet.width > 2 * scenes * 64
    assert CHUNKS < 7, "sheets show scenes of five seconds"
