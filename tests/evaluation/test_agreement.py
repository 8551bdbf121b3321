"""Rank correlations of rewards with the oracle: 1 for the oracle itself, and a head that says the opposite is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from streamt1.evaluation.agreement import HEADS, correlations, judge
from streamt1.pocket.paths import sample_take
from streamt1.pocket.scenes import parse
from streamt1.pocket.world import render
from tests.evaluation.oracles import oracles


def test_the_oracle_agrees_with_itself_and_a_reversed_head_does_not() -> None:
    scene = parse("a red circle with a dot sliding on a navy striped background")
    clip = render(scene, sample_take(np.random.default_rng(3), scene), 33)
    hidden = [
        np.where(np.arange(33)[:, None, None, None] < first, clip, clip[:, :, :1, :1]) for first in (0, 8, 16, 33)
    ]
    judged = [judge(oracles(), torch.from_numpy(frames.astype(np.float32)), scene) for frames in hidden]
    assert [one.oracle for one in judged] == sorted({one.oracle for one in judged}), "the longer seen, the better"
    assert correlations(judged) == {"frame": pytest.approx(1), **dict.fromkeys(HEADS, pytest.approx(1))}
    worse = [dataclasses.replace(one, heads={**one.heads, "mq": -one.heads["mq"]}) for one in judged]
    assert correlations(worse)["mq"] == pytest.approx(-1)
