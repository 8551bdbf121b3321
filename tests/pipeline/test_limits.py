"""Lengths, seeds and settings that cannot be, told before any work is done."""

from __future__ import annotations

import math
from typing import Any

import pytest

import streamt1
from streamt1.config.limits import RunLimits
from streamt1.core.errors import ConfigError
from streamt1.search.config import SearchConfig

PROMPT = "a red circle bouncing on a navy striped background"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"noise_strength": math.nan}, "noise_strength' = nan must be a finite number"),
        ({"taper": math.inf}, "taper' = inf must be a finite number"),
        ({"budget_seconds": math.nan, "chunks": 1}, "budget_seconds"),
        ({"seconds": math.inf}, "seconds=inf must be a finite number"),
        ({"seconds": math.nan}, "seconds=nan must be a finite number"),
        ({"seconds": 1e9}, "the limit is 86400 seconds"),
        ({"chunks": 10**9}, "the limit is 86400 seconds"),
        ({"chunks": 10**90}, "the limit is 86400 seconds"),
        ({"beam_size": 10**6, "chunks": 1}, "limits.candidates"),
        ({"seed": 2**63, "chunks": 1}, "seed=9223372036854775808"),
        ({"taper": 50.0, "beam_size": 32, "top_k": 32, "chunks": 20}, "limits.candidates"),
        ({"preview_step": 4, "chunks": 1}, "preview_step=4"),
        ({"policy": "x" * 999, "chunks": 1}, "unknown policy"),
    ],
)
def test_what_cannot_be_is_named_at_the_start(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as told:
        streamt1.generate(PROMPT, **settings)
    assert says in str(told.value)
    assert len(str(told.value)) < 400


def test_a_search_has_finite_settings() -> None:
    with pytest.raises(ConfigError, match="long_threshold=nan"):
        SearchConfig(long_threshold=math.nan)


def test_the_widest_chunk_is_looked_at() -> None:
    limits, lengths = RunLimits(candidates=12), [12, 3]
    limits.check_widths(SearchConfig(), lengths)
    limits.check_widths(SearchConfig(taper=1.0), lengths)
    limits.check_widths(SearchConfig(taper=30.0, pruning="final"), lengths)
    for settings in ({"taper": 30.0}, {"taper": 1.0, "adaptive": 1.0}):
        with pytest.raises(ConfigError, match=r"may give a chunk \d+ candidates.*the limit is 12"):
            limits.check_widths(SearchConfig(**settings), lengths)


def test_limits_are_generous() -> None:
    RunLimits().check_seconds(12 * 3600, "seconds=43200")
    RunLimits(seconds=1e6).check_chunks(10**6, 0.75)
    RunLimits().check_width(SearchConfig(beam_size=32, top_k=32))
