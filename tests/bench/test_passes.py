"""Bounds on what passes, commits and pages ask of a GPU at full size. Whoever lowers a number writes it here."""

from __future__ import annotations

from typing import Any

import pytest

from streamt1.bench import passes
from tests.compiler import needs_compiler

pytestmark = needs_compiler
MOST = {
    "first step": (1725, 102, 0.9),
    "further step": (1662, 102, 0.9),
    "commit, discard": (1743, 32.2, 1.1),
    "commit, ema": (2631, 58.5, 2.81),
    "commit, append": (1743, 32.2, 1.1),
}
"""Kernels, gigabytes of elementwise work, and the peak above what was alive. It was 3254, 452 and 1.59 for a step."""
NOISE = 4 * (1 + 3) * 3 * 16 * 60 * 104 * 4
LATENTS = 3 * 16 * 60 * 104 * 4


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return passes.measure()


def test_kernels_and_bytes_are_within_bounds(found: dict[str, Any]) -> None:
    assert [row["what"] for row in found["work"]] == list(MOST)
    for row in found["work"]:
        kernels, elementwise, peak = MOST[row["what"]]
        assert row["kernels"] <= kernels
        assert row["elementwise_gb"] <= elementwise
        assert row["peak_gb"] <= peak


def test_nothing_but_noise_comes_over_and_nothing_waits(found: dict[str, Any]) -> None:
    first, further, *commits = found["work"]
    assert NOISE <= first["to_device"] < NOISE + 100, "and the schedule"
    assert (further["to_device"], further["to_host"], further["syncs"]) == (0, 0, 0)
    assert (first["to_host"], first["syncs"]) == (0, 0)
    for commit in commits:
        assert (commit["to_device"], commit["to_host"], commit["syncs"]) == (0, LATENTS, 1), "for the page's name"


def test_attention_is_read_by_kernels_that_store_no_scores(found: dict[str, Any]) -> None:
    for row in found["work"]:
        assert 0 < row["attention_gb"] < 17
        assert row["matrix_gb"] < 47


def test_with_copies_a_page_crosses_once(found: dict[str, Any]) -> None:
    """A survivor's goes home; a blend, which is made at home, comes over. Without copies all do, in every pass."""
    crossings = {(row["kept"], row["leaving"]): (row["to_device"], row["to_host"]) for row in found["pages"]}
    alone, beside = passes.PLACES
    assert crossings[beside, "discard"] == crossings[beside, "append"] == (0, 2)
    assert crossings[beside, "ema"] == (2, 2)
    steps, beams, past = 4, 2, 3
    assert crossings[alone, "discard"] == crossings[alone, "ema"] == ((steps + 1) * beams * past, 2)
    assert crossings[alone, "append"] == ((steps + 1) * beams * (past + 1), 2)
