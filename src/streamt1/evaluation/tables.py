"""The tables of an evaluation, as rows of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamt1.evaluation.asked import ALL
from streamt1.evaluation.labels import GAINS, LOWER_IS_BETTER, MEASURES, candidates, effects, label, scale, short
from streamt1.evaluation.statistics import is_lone

ALWAYS = ("gain_over_greedy", "gain_over_best_of_n_at_equal_cost")
Table = list[list[str]]
"""Rows of cells, the first the header."""
Numbers = dict[str, Any]


def quality_table(budgets: dict[str, Any], judge: str) -> Table:
    """The paper's shape: a row for each method and budget, a column for each measure. Values are means."""
    rows = _rows(budgets)
    columns = [name for name in MEASURES if any(name in n["measures"] for _, _, n in rows)]
    header = ["method", "candidates", *(MEASURES[name] + _arrow(name) for name in columns)]
    return [header, *([*_named(m, b), *(_value(n["measures"].get(name)) for name in columns)] for m, b, n in rows)]


def gain_table(budgets: dict[str, Any], judge: str) -> Table:
    """The judge's mean and the paired gains, with intervals and win rates, and the regret in points of the oracle."""
    rows = _rows(budgets)
    gains = _compared([numbers for _, _, numbers in rows])
    table = [["method", "candidates", judge, *_gain_header(gains), "regret (oracle points)", "prompts"]]
    for method, budget, numbers in rows:
        regret = _value(100 * numbers["regret"], 2) if "regret" in numbers else ""
        table.append([*_named(method, budget), *_gains(numbers, judge, gains), regret, f"{numbers['prompts']}"])
    return table


def pooled_table(methods: dict[str, Numbers], judge: str) -> Table:
    """Of ``over_budgets`` of one length: the judge's mean and the paired gains; empty where there is one budget."""
    if not methods:
        return []
    gains = _compared(list(methods.values()))
    header = ["method", judge, *_gain_header(gains), "pairs"]
    rows = [[label(method), *_gains(n, judge, gains), f"{n[judge]['n']}"] for method, n in methods.items()]
    return [header, *rows]


def asked_table(answers: list[Numbers], judge: str) -> Table:
    """The answers to what a suite asked before it was run; empty where there are none."""
    if not answers:
        return []
    several = any("widened" in one for one in answers)
    header = ["asked", "compared", "clips", "candidates", "lead", *["widened"] * several, "prompts"]
    return [header, *(_answer(one, scale(judge), several) for one in answers)]


def _answer(one: Numbers, factor: float, several: bool) -> list[str]:
    budget = "all" if one["budget"] == ALL else f"{candidates(one['budget'])}"
    cells = [one["question"], f"{label(one['method'])} less {label(one['than'])}", short(one["length"]), budget]
    wide = None if is_lone(one) else one.get("widened")
    told = f"{100 * wide['level']:.1f}%: [{wide['low'] * factor:+.2f}, {wide['high'] * factor:+.2f}]" if wide else ""
    return [*cells, _interval(one, factor, "+"), *[told] * several, f"{one.get('prompts', one['n'])}"]


def scene_table(budgets: dict[str, Any], judge: str) -> Table:
    """What the oracle reads in each scene, in points; empty where clips have one."""
    rows = _rows(budgets)
    known = {name for _, _, n in rows for name in n["measures"] if name.startswith("oracle_scene_")}
    columns = sorted(known, key=lambda name: int(name.removeprefix("oracle_scene_")))
    if not columns:
        return []
    header = ["method", "candidates", *(f"scene {name.removeprefix('oracle_scene_')}" for name in columns)]
    shown = ([_points(numbers["measures"].get(name)) for name in columns] for _, _, numbers in rows)
    return [header, *([*_named(m, b), *cells] for (m, b, _), cells in zip(rows, shown))]


def ablation_table(budgets: dict[str, Any], judge: str) -> Table:
    """What Stream-T1 has more than itself without a unit; empty where nothing was taken out."""
    return _effects(effects(budgets, units=True), judge, "Stream-T1", "the unit adds")


def variant_table(budgets: dict[str, Any], judge: str) -> Table:
    """What other ways to search have more than Stream-T1; empty where there are none."""
    return _effects(effects(budgets, units=False), judge, "method", "over Stream-T1")


def _effects(found: list[tuple[str, str, Numbers]], judge: str, who: str, what: str) -> Table:
    shown = ([*_named(m, b), _interval(n, scale(judge), "+"), _rate(n), f"{n['n']}"] for m, b, n in found)
    return [[who, "candidates", what, "wins", "pairs"], *shown] if found else []


def cost_table(budgets: dict[str, Any], judge: str) -> Table:
    """Means per clip."""
    header = ["method", "candidates", "model passes", "latents decoded", "reward calls", "seconds", "peak MB", "clips"]
    names = ("model_passes", "latents_decoded", "reward_calls", "seconds", "peak_mb")
    places = (0, 0, 0, 2, 0)
    rows = [
        [*_named(m, b), *(_value(n["cost"].get(name), place) for name, place in zip(names, places)), f"{n['n']}"]
        for m, b, n in _rows(budgets)
    ]
    return [header, *rows]


def route_table(budgets: dict[str, Any], judge: str) -> Table:
    """Shares of the routes in percent; empty where nothing was routed."""
    rows = [(m, b, n["routes"]) for m, b, n in _rows(budgets) if "routes" in n]
    shown = ([*_named(m, b), *(_value(100 * share, 0) for share in routes.values())] for m, b, routes in rows)
    return [["method", "candidates", "discard %", "ema %", "append %"], *shown] if rows else []


TABLES: dict[str, Callable[[dict[str, Any], str], Table]] = {
    "Gains": gain_table,
    "What each unit adds": ablation_table,
    "Other ways, against Stream-T1": variant_table,
    "Scene by scene": scene_table,
    "Quality": quality_table,
    "Cost per clip": cost_table,
    "Routes": route_table,
}


def markdown(table: Table) -> str:
    """A table whose numbers stand on the right."""
    header, *rows = table
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _rows(budgets: dict[str, Any]) -> list[tuple[str, str, Numbers]]:
    """(method, budget, numbers), method by method, cheapest first."""
    order = list(dict.fromkeys(method for methods in budgets.values() for method in methods))
    found = [(m, budget, n) for budget, methods in budgets.items() for m, n in methods.items()]
    return sorted(found, key=lambda row: (order.index(row[0]), candidates(row[1])))


def _compared(rows: list[Numbers]) -> list[str]:
    """The gains that any row has; those over one sample and over best of n stand in every table."""
    return [gain for gain in GAINS if gain in ALWAYS or any(gain in numbers for numbers in rows)]


def _gain_header(gains: list[str]) -> list[str]:
    return [cell for gain in gains for cell in (f"gain over {GAINS[gain]}", "wins")]


def _gains(numbers: Numbers, judge: str, gains: list[str]) -> list[str]:
    """The judge's mean, then each gain and its win rate."""
    factor = scale(judge)
    found = [numbers.get(gain) for gain in gains]
    cells = [cell for gain in found for cell in (_interval(gain, factor, "+"), _rate(gain))]
    return [_interval(numbers[judge], factor), *cells]


def _points(value: float | None) -> str:
    return _value(None if value is None else 100 * value, 1)


def _named(method: str, budget: str) -> list[str]:
    return [label(method), f"{candidates(budget)} ({budget})"]


def _arrow(name: str) -> str:
    if name == "dynamic_degree":
        return ""
    return " ↓" if name in LOWER_IS_BETTER else " ↑"


def _value(value: float | None, places: int = 3) -> str:
    return "" if value is None else f"{value:.{places}f}"


def _interval(found: dict[str, float] | None, factor: float, sign: str = "") -> str:
    if found is None:
        return ""
    mean, low, high = (found[name] * factor for name in ("mean", "low", "high"))
    if is_lone(found):
        return f"{mean:{sign}.2f} (one prompt)"
    return f"{mean:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _rate(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{100 * found['win_rate']:.0f}%"
