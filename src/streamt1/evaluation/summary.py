"""From rows to numbers: means and paired differences, each with its 95% bootstrap interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from streamt1.evaluation.asked import answers
from streamt1.evaluation.groups import ALONE, Group, Groups, by_prompt, grouped, means_over
from streamt1.evaluation.rows import Row
from streamt1.evaluation.statistics import interval
from streamt1.evaluation.suites import Suite

RIVALS = {
    "gain_over_best_of_n_at_equal_cost": "best_of_n",
    "gain_over_best_of_n_per_scene_at_equal_cost": "best_of_n_per_scene",
}
"""Gain -> the method over which, with as many candidates per chunk."""
COSTS = ("model_passes", "latents_decoded", "latents_drafted", "reward_calls", "seconds", "peak_mb")
ROUTES = ("discard", "ema", "append")
_HEAD = ("prompt", "seed", "method", "beam_size", "top_k", "length", "jobs", "error", "scenes")
_SHOWN_APART = {*_HEAD, *COSTS, "frames", "picks", "pick_chosen", "pick_random", "pick_best", "pick_regret"}


def summarise(suite: Suite, rows: Sequence[Row]) -> dict[str, Any]:
    """``{"suite", "judge", "clips", "failed", "lengths", "over_budgets", "asked"}``.

    ``lengths`` is ``{length: {budget: {method: numbers}}}``. Lengths are seconds as text, with scenes ``"<letters> x
    <seconds of each>"``, as ``"ABA x 5"``; budgets are ``"<beam_size>x<top_k>"``. Numbers of a method:

    - ``n`` clips, ``prompts``;
    - the judge (``oracle``) as mean, low, high, n;
    - ``gain_over_greedy``, ``gain_over_best_of_n_at_equal_cost`` and ``gain_over_best_of_n_per_scene_at_equal_cost``
      (the same number of candidates per chunk) and, of an ablation, ``loss_without_unit`` (Stream-T1 less it): mean,
      low, high, n, win_rate, tie_rate;
    - ``regret`` and the ``picks`` behind it: means of what was chosen, a random choice, the best choice;
    - ``cost``: means per clip; ``routes``: share of each; ``measures``: means of all other columns.

    ``over_budgets``, ``{length: {method: numbers}}``, has the judge and the gains of clips' means over all budgets, for
    methods with several. ``asked``: see ``answers``.
    """
    good = [row for row in rows if not row["error"] and row.get(suite.judge) is not None]
    groups = grouped(good)
    lengths: dict[str, Any] = {}
    for (length, budget, method), group in groups.items():
        numbers = _numbers(suite, group)
        for name, other, turned in _rivals(suite, groups, length, budget, method):
            compared = paired(group, other, suite.judge) if not turned else paired(other, group, suite.judge)
            if compared:
                numbers[name] = compared
        lengths.setdefault(length, {}).setdefault(budget, {})[method] = numbers
    failed = sum(bool(row["error"]) for row in rows)
    pooled = {length: _over_budgets(suite, groups, length) for length in lengths}
    head = {"suite": suite.name, "judge": suite.judge, "clips": len(rows), "failed": failed}
    return {**head, "lengths": lengths, "over_budgets": pooled, "asked": answers(suite, groups)}


def _over_budgets(suite: Suite, groups: Groups, length: str) -> dict[str, Any]:
    """Each method over all of its budgets, and less each rival over those that both have."""

    def mean(method: str, budgets: Sequence[str]) -> Group:
        return means_over(groups, length, method, suite.judge, budgets)

    own = {
        method: [budget for clips, budget, name in groups if (clips, name) == (length, method)]
        for method in suite.methods
    }
    table: dict[str, Any] = {}
    for method, budgets in own.items():
        if len(budgets) < 2:
            continue
        group = mean(method, budgets)
        if not group:  # no clip came out well at each of them
            continue
        judged = _over_prompts(list(group), [row[suite.judge] for row in group.values()])
        table[method] = {suite.judge: {**judged, "n": len(group)}}
        for name, rival in {"gain_over_greedy": "greedy", **RIVALS}.items():
            both = budgets if rival == "greedy" else [budget for budget in budgets if budget in own.get(rival, [])]
            if rival != method and len(both) > 1:
                compared = paired(mean(method, both), mean(rival, both), suite.judge)
                if compared:
                    table[method][name] = compared
    return table


def paired(group: Group, other: Group, column: str) -> dict[str, float] | None:
    """What ``group`` has more than ``other`` in a column, over the clips that both have; None where there are none.

    ``win_rate`` counts ties as half; ``tie_rate`` is their share; ``prompts`` of ``n`` clips.
    """
    keys = [key for key in group if key in other]
    if not keys:
        return None
    gains = [group[key][column] - other[key][column] for key in keys]
    wins, ties = np.mean([gain > 0 for gain in gains]), np.mean([gain == 0 for gain in gains])
    found = _over_prompts(keys, gains)
    return {**found, "n": len(keys), "win_rate": float(wins + ties / 2), "tie_rate": float(ties)}


def _over_prompts(keys: Sequence[tuple[str, int]], values: Sequence[float]) -> dict[str, float]:
    found = interval(list(by_prompt(keys, values).values()))
    return {**found, "prompts": found["n"]}


def _numbers(suite: Suite, group: Group) -> dict[str, Any]:
    rows = list(group.values())
    judged = _over_prompts(list(group), [row[suite.judge] for row in rows])
    found: dict[str, Any] = {"n": len(rows), "prompts": int(judged["n"]), suite.judge: {**judged, "n": len(rows)}}
    found["cost"] = _means(rows, COSTS)
    picks = _means(rows, ("pick_chosen", "pick_random", "pick_best"))
    if picks:
        found |= {"regret": _means(rows, ("pick_regret",))["pick_regret"], "picks": picks}
    routed = {name: sum(row.get(f"route_{name}") or 0 for row in rows) for name in ROUTES}
    if sum(routed.values()):
        found["routes"] = {name: count / sum(routed.values()) for name, count in routed.items()}
    found["measures"] = _means(rows, [name for name in rows[0] if name not in _SHOWN_APART and "route_" not in name])
    return found


def _means(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, float]:
    """Of the columns that any row has."""
    found = {name: [row[name] for row in rows if row.get(name) is not None] for name in columns}
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _rivals(suite: Suite, groups: Groups, length: str, budget: str, method: str) -> Iterator[tuple[str, Group, bool]]:
    """(name of the comparison, the other group, whether the other's lead is counted)."""
    for name, key, turned in (
        ("gain_over_greedy", (length, ALONE, "greedy"), False),
        *((gain, (length, budget, rival), False) for gain, rival in RIVALS.items()),
        ("loss_without_unit", (length, budget, "stream_t1"), True),
    ):
        if key in groups and key[2] != method and (not turned or method in suite.ablations):
            yield name, groups[key], turned
