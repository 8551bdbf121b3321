"""What a suite asks before it is run, answered from its rows: so that nobody picks what to compare by looking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from streamt1.evaluation.groups import Groups, at_budget, differences, means_over
from streamt1.evaluation.statistics import difference_interval, interval
from streamt1.evaluation.suites import Question, Suite

ALL = "all"
"""In place of a budget: the mean of a clip over all of them."""
LEVEL = 0.95


def answers(suite: Suite, groups: Groups) -> list[dict[str, Any]]:
    """The answers to ``suite.asked``, of each length that is asked about and budget at which both methods were run.

    Returns:
        Dictionaries with ``question``, ``method``, ``than``, ``length``, ``budget`` and mean, low, high, n of the
        method's lead (95%). Where a question has several ``tries``, ``widened`` has its level, low and high again, for
        95% of all of them together (Bonferroni); where there are several budgets, only the lead over all of them has
        it. A question with ``grows`` is answered by the lead at the second of its lengths less that at the first, over
        prompts that are not paired.
    """
    return [
        {"question": one.question, "method": one.method, "than": one.than, **found}
        for one in suite.asked
        for found in (_grown(suite, one, groups) if one.grows else _leads(suite, one, groups))
    ]


def _leads(suite: Suite, one: Question, groups: Groups) -> Iterator[dict[str, Any]]:
    for length in one.lengths or dict.fromkeys(length for length, _, _ in groups):
        found = _by_budget(suite, one, groups, length)
        for budget, values in found.items():
            tries = one.tries if budget == ALL or ALL not in found else 1
            yield {"length": length, "budget": budget, **_widened(tries, partial(interval, values))}


def _grown(suite: Suite, one: Question, groups: Groups) -> Iterator[dict[str, Any]]:
    assert one.grows is not None
    few, many = (_by_budget(suite, one, groups, length) for length in one.grows)
    for budget in few:
        if budget in many and budget != ALL:
            found = _widened(one.tries, partial(difference_interval, many[budget], few[budget]))
            yield {"length": f"{one.grows[1]} less {one.grows[0]}", "budget": budget, **found}


def _widened(tries: int, of_level: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """An interval, and where the question has several tries the one for all of them together."""
    numbers = of_level(level=LEVEL)
    if tries > 1:
        level = 1 - (1 - LEVEL) / tries
        wide = of_level(level=level)
        numbers["widened"] = {"level": level, "low": wide["low"], "high": wide["high"]}
    return numbers


def _by_budget(suite: Suite, one: Question, groups: Groups, length: str) -> Mapping[str, list[float]]:
    """The method's lead for each prompt, at each budget, and over all of them where there are several."""
    budgets = [budget for clips, budget, method in groups if (clips, method) == (length, one.method)]
    leads: dict[str, dict[str, float]] = {}
    for budget in budgets:
        mine, other = (at_budget(groups, length, budget, name) for name in (one.method, one.than))
        leads[budget] = differences(mine, other, suite.judge)
    several = [budget for budget, lead in leads.items() if lead]
    if len(several) > 1:
        mine, other = (means_over(groups, length, name, suite.judge, several) for name in (one.method, one.than))
        leads[ALL] = differences(mine, other, suite.judge)
    return {budget: list(lead.values()) for budget, lead in leads.items() if lead}
