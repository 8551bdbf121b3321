"""What the oracle says of clips of several scenes, on true renders and on renders that forget."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from streamt1.config.load import load_config
from streamt1.evaluation.judge import check_judge, oracle_columns, oracle_for, showings
from streamt1.pocket.identity import identity
from streamt1.pocket.paths import sample_take
from streamt1.pocket.scenes import evaluation_scenes, parse
from streamt1.pocket.world import render

FRAMES = 84
A = "a red circle with a dot sliding on a gray plain background"
B = "a blue star bobbing on a navy striped background"


def shown(prompt: str, seed: int, start: int = 0, **changes: object) -> torch.Tensor:
    scene = parse(prompt)
    take = sample_take(np.random.default_rng(seed), scene)
    path = dataclasses.replace(take.paths[0], **changes)
    return torch.from_numpy(render(scene, dataclasses.replace(take, paths=(path,)), FRAMES, start))


def columns(*scenes: tuple[str, torch.Tensor]) -> dict[str, float]:
    oracle = oracle_for(load_config("pocket"))
    assert oracle is not None
    frames = torch.cat([frames for _, frames in scenes])
    ends = np.cumsum([len(frames) for _, frames in scenes]).tolist()
    return oracle_columns(oracle, showings(frames, [prompt for prompt, _ in scenes], ends))


def test_each_scene_is_read_under_its_own_prompt() -> None:
    right = columns((A, shown(A, 1)), (B, shown(B, 2)))
    assert right["oracle"] == pytest.approx((right["oracle_scene_1"] + right["oracle_scene_2"]) / 2)
    assert right["oracle"] > 0.95
    stuck = columns((A, shown(A, 1)), (B, shown(A, 1, FRAMES)))
    assert stuck["oracle_scene_1"] == right["oracle_scene_1"]
    assert stuck["oracle_scene_2"] < 0.5
    assert "oracle_identity" not in right


def test_one_scene_has_the_columns_that_it_always_had() -> None:
    one = columns((A, shown(A, 1)))
    assert not [name for name in one if "scene" in name or "identity" in name]
    assert one["oracle"] == pytest.approx(np.mean([one[f"oracle_{name}"] for name in READ]))


READ = ("presence", "shape", "colour", "motion", "background", "memory")


def test_a_return_is_compared_with_the_first_showing() -> None:
    first = shown(A, 1, choice=1)
    same = columns((A, first), (B, shown(B, 2)), (A, shown(A, 1, 2 * FRAMES, choice=1)))
    other = columns((A, first), (B, shown(B, 2)), (A, shown(A, 1, 2 * FRAMES, choice=0)))
    assert same["oracle_identity"] > 0.98
    assert other["oracle_identity"] < 0.55, "the tone of the dot is half of what must be kept"
    assert other["oracle_scene_3"] == pytest.approx(same["oracle_scene_3"], abs=0.02), "by itself it is as good"


def test_identity_of_true_renders_is_one_but_where_the_oracle_is_wrong() -> None:
    scenes = evaluation_scenes(28)
    takes = [sample_take(np.random.default_rng(seed), scene) for seed, scene in enumerate(scenes)]
    kept = [
        identity(render(scene, take, FRAMES), render(scene, take, FRAMES, 200), scene)
        for scene, take in zip(scenes, takes)
    ]
    assert np.median(kept) == 1
    assert np.mean(kept) > 0.985


def test_identity_can_be_the_judge() -> None:
    check_judge(load_config("pocket"), "oracle_identity")
