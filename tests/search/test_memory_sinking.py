import math

import pytest

from streamt1.core.types import Route, Score
from streamt1.search.memory_sinking import decide_route


def score(short: float, long: float) -> Score:
    return Score(short, long, 0.0)


def test_chunk_0_has_no_route() -> None:
    assert decide_route(score(1, 1), [], 10, 0.0, 0.2) is None


@pytest.mark.parametrize(
    ("short", "long", "route"),
    [
        (0.5, 1.0, Route.EMA),  # good pictures, the story goes on
        (0.5, 0.7, Route.APPEND),  # good pictures, the story broke: a new scene
        (0.5, 0.8, Route.EMA),  # a fall of exactly the threshold is no break
        (-0.5, 0.0, Route.DISCARD),
        (0.0, 1.0, Route.DISCARD),  # as good as the past is not better
    ],
)
def test_routes(short: float, long: float, route: Route) -> None:
    assert decide_route(score(short, long), [score(0.0, 1.0)], 10, 0.0, 0.2) is route


def test_a_score_that_is_not_finite_tells_nothing_about_those_after_it() -> None:
    """Such chunks go on where nothing is pruned by rewards (``pruning=random``)."""
    past = [score(0.0, 1.0), score(math.nan, math.nan)]
    assert decide_route(score(0.5, 1.0), past, 10, 0.0, 0.2) is Route.EMA
    assert decide_route(score(0.5, 0.7), past, 10, 0.0, 0.2) is Route.APPEND
    assert decide_route(score(0.5, 0.7), [score(math.nan, math.nan)], 10, 0.0, 0.2) is Route.DISCARD
    assert decide_route(score(math.nan, 0.7), past, 10, 0.0, 0.2) is Route.DISCARD


def test_the_short_baseline_slides_unless_told_otherwise() -> None:
    """The last W - 1 chunks average 0, the whole past 9: only the window calls 1.0 high (SPEC section 9, item 2)."""
    past = [score(90.0, 0.0)] + [score(0.0, 0.0)] * 9
    assert decide_route(score(1.0, 0.0), past, 10, 0.0, 0.2, "window") is Route.EMA
    assert decide_route(score(1.0, 0.0), past, 10, 0.0, 0.2, "all") is Route.DISCARD
