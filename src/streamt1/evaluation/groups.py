"""Rows by what made them, and what one group has more than another.

Clips are paired by prompt and seed. Runs of one prompt resemble one another, so that a bootstrap draws prompts, not
clips: a value is first averaged over the runs of its prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from streamt1.evaluation.rows import Row
from streamt1.evaluation.suites import named_length

Group = dict[tuple[str, int], Row]
"""Rows of one method at one budget and length, by prompt and seed."""
Groups = dict[tuple[str, str, str], Group]
"""By length, budget and method."""
ALONE = "1x1"
"""The budget of one sample."""


def grouped(rows: Iterable[Row]) -> Groups:
    """All rows by length, budget and method; the order of the rows is kept."""
    groups: Groups = {}
    for row in rows:
        groups.setdefault((length_name(row), budget_name(row), row["method"]), {})[row["prompt"], row["seed"]] = row
    return groups


def at_budget(groups: Groups, length: str, budget: str, method: str) -> Group:
    """The rows of a method at a budget, empty where there are none; one sample is the same at every budget."""
    return groups.get((length, ALONE if method == "greedy" else budget, method), {})


def length_name(row: Row) -> str:
    """Of a row's clip, see ``named_length``."""
    scenes = row.get("scenes", "A")
    return named_length(scenes, row["length"] / len(scenes))


def budget_name(row: Row) -> str:
    """``"2x2"``: beam size times top k."""
    return f"{row['beam_size']}x{row['top_k']}"


def differences(group: Group, other: Group, column: str) -> dict[str, float]:
    """What ``group`` has more than ``other`` in a column, for each prompt of which both have a clip."""
    keys = [key for key in group if key in other]
    return by_prompt(keys, [group[key][column] - other[key][column] for key in keys])


def by_prompt(keys: Sequence[tuple[str, int]], values: Sequence[float]) -> dict[str, float]:
    """The mean over the runs of each prompt."""
    prompts: dict[str, list[float]] = {}
    for (prompt, _), value in zip(keys, values):
        prompts.setdefault(prompt, []).append(value)
    return {prompt: float(np.mean(runs)) for prompt, runs in prompts.items()}


def means_over(groups: Groups, length: str, method: str, column: str, budgets: Iterable[str]) -> Group:
    """Each clip's mean over some budgets, of the clips that all of them have; empty where a budget has none."""
    found = [at_budget(groups, length, budget, method) for budget in budgets]
    keys = [key for key in found[0] if all(key in group for group in found)]
    return {key: {column: float(np.mean([group[key][column] for group in found]))} for key in keys}
