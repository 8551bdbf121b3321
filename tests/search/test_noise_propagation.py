import math

import pytest
import torch

from streamt1.core.seeds import generator
from streamt1.search.noise_propagation import candidate_seed, propagate


def randn(seed: int) -> torch.Tensor:
    return torch.randn(200_000, generator=generator(seed))


def test_chunk_0_takes_fresh_noise() -> None:
    fresh = randn(0)
    assert propagate(fresh, None, -0.1) is fresh


@pytest.mark.parametrize("strength", [-1.0, -0.1, 0.0, 0.25, 1.0])
def test_independent_noise_keeps_unit_variance(strength: float) -> None:
    parent, fresh = randn(1), randn(2)
    noise = propagate(fresh, parent, strength)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    correlation = torch.corrcoef(torch.stack([noise, parent]))[0, 1].item()
    assert correlation == pytest.approx(strength, abs=0.01)


def test_the_official_seed_rule_repeats_the_parents_noise_and_loses_variance() -> None:
    """SPEC 4.1: with eps equal to the parent's, the variance is (b + sqrt(1 - b^2))^2 = 0.80 at b = -0.1."""
    seed = candidate_seed("official", 7, chunk=1, beam=0, candidate=0, parent=7)
    assert seed == 7
    noise = propagate(randn(seed), randn(7), -0.1)
    assert noise.var().item() == pytest.approx((-0.1 + math.sqrt(0.99)) ** 2, abs=0.01)


def test_seed_rules() -> None:
    assert candidate_seed("official", 52, chunk=3, beam=1, candidate=1, parent=9) == 52 + 3000 + 100 + 1
    assert candidate_seed("official", 52, chunk=0, beam=0, candidate=3, parent=None) == 55
    fresh = {candidate_seed("fresh", 52, 3, beam, i, parent=9) for beam in range(2) for i in range(2)}
    assert len(fresh) == 4
    assert 9 not in fresh
