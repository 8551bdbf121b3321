"""Charts of what a search gains, over one sample and over best of n, and of what each unit adds.

A chart says by itself what it shows.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from streamt1.evaluation.drawing import BLUE, GREY, INTERVALS, RED, Summary, headline
from streamt1.evaluation.labels import candidates, clips, colour, curves, effects, label, scale, unit
from streamt1.evaluation.statistics import told_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cost_chart(figure: Figure, summary: Summary) -> bool:
    """Gain over one sample against cost: a row for each length, against model passes on the left, seconds on the right.

    False where the suite has no one sample.
    """
    lengths = {length: budgets for length, budgets in summary["lengths"].items() if "greedy" in curves(budgets)}
    if not lengths:
        return False
    figure.set_size_inches(11, 1.2 + 3.9 * len(lengths))
    axes = figure.subplots(len(lengths), 2, sharey="row", squeeze=False)
    for row, (length, budgets) in zip(axes, lengths.items()):
        names = (("model_passes", "model passes per clip"), ("seconds", "seconds per clip, with decoding and rewards"))
        for axis, (cost, name) in zip(row, names):
            _draw_curves(axis, curves(budgets), cost, summary["judge"])
            axis.set_xlabel(name)
        row[0].set_ylabel(f"gain over one sample,\n{unit(summary['judge'])}")
        row[0].set_title(f"{clips(length)} ({_sample(budgets)})", loc="left", fontweight="bold")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    headline(figure, "What a search gains, and what it costs", f"{_COST} {INTERVALS}")
    return True


_COST = "At blue points: candidates per chunk. At the grey point: what one sample has."


def _draw_curves(axis: Axes, lines: dict[str, list[tuple[str, dict[str, Any]]]], cost: str, judge: str) -> None:
    factor = scale(judge)
    for method, points in lines.items():
        gains = [n.get("gain_over_greedy", {"mean": 0.0, "low": 0.0, "high": 0.0}) for _, n in points]
        x = [numbers["cost"][cost] for _, numbers in points]
        y = [gain["mean"] * factor for gain in gains]
        spread = [[(g["mean"] - g["low"]) * factor for g in gains], [(g["high"] - g["mean"]) * factor for g in gains]]
        look: dict[str, Any] = {"color": colour(method), "marker": "o", "markersize": 5, "label": label(method)}
        _, _, bars = axis.errorbar(x, y, spread, linewidth=2.4 if method == "stream_t1" else 1.5, zorder=3, **look)
        bars[0].set(alpha=0.3, linewidth=4, zorder=2)
        if method == "stream_t1":
            for (budget, _), place, height in zip(points, x, y):
                text = {"xytext": (-7, 6), "textcoords": "offset points", "ha": "right", "fontweight": "bold"}
                axis.annotate(str(candidates(budget)), (place, height), color=colour(method), **text)
    alone = lines["greedy"][0][1]
    text = {"xytext": (-4, 6), "textcoords": "offset points", "color": colour("greedy"), "fontsize": 9}
    axis.annotate(f"{alone[judge]['mean'] * factor:.1f}", (alone["cost"][cost], 0), **text)
    axis.axhline(0, color=GREY, linewidth=1, linestyle=":")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axis.grid(axis="y", color="#e6e6e6")


def rival_chart(figure: Figure, summary: Summary) -> bool:
    """Every search less best of n with as many candidates; False where the suite has no best of n."""
    found = {length: _leads(budgets, summary["over_budgets"][length]) for length, budgets in summary["lengths"].items()}
    found = {length: groups for length, groups in found.items() if groups}
    if not found:
        return False
    figure.set_size_inches(11, 2.1 + 0.22 * max(sum(len(leads) + 1 for leads in g.values()) for g in found.values()))
    panels = figure.subplots(1, len(found), sharex=True, squeeze=False)[0]
    for axis, (length, groups) in zip(panels, found.items()):
        ticks, place = {}, 0.0
        for name, leads in groups.items():
            ticks[place + (len(leads) - 1) / 2] = name
            for method, lead in leads.items():
                _draw_lead(axis, place, method, lead, scale(summary["judge"]))
                place += 1
            place += 1
        axis.axvline(0, color="black", linewidth=1)
        axis.set_yticks(list(ticks), list(ticks.values()))
        axis.set_ylim(place - 1, -1)
        axis.grid(axis="x", color="#e6e6e6")
        axis.set_xlabel(f"gain over best of n, {unit(summary['judge'])}")
        axis.set_title(clips(length), loc="left", fontweight="bold")
    methods = dict.fromkeys(method for leads in found.values() for group in leads.values() for method in group)
    for method in methods:
        panels[0].plot([], [], "o-", color=colour(method), label=label(method))
    figure.legend(loc="outside lower center", ncols=len(methods), frameon=False)
    headline(figure, "Is it better than choosing among as many whole videos?", f"{_LEADS} {INTERVALS}")
    return True


_LEADS = "Right of the line: better than best of n with as many candidates. Hollow: not told apart from it."


def _leads(budgets: dict[str, Any], pooled: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Candidates, as people read them -> method -> its gain over best of n; last the mean over all budgets."""
    alike = Counter(map(candidates, budgets))
    names = {b: f"{candidates(b)} candidates" + (f" ({b})" if alike[candidates(b)] > 1 else "") for b in budgets}
    groups = {names[budget]: methods for budget, methods in budgets.items()}
    groups["all together"] = pooled
    key = "gain_over_best_of_n_at_equal_cost"
    leads = {
        name: {m: n[key] for m, n in methods.items() if key in n and "loss_without_unit" not in n}
        for name, methods in groups.items()
    }
    return {name: found for name, found in leads.items() if found}


def _draw_lead(axis: Axes, place: float, method: str, lead: dict[str, float], factor: float) -> None:
    mean, low, high = (lead[name] * factor for name in ("mean", "low", "high"))
    shade = colour(method)
    look: dict[str, Any] = {"color": shade, "markerfacecolor": shade if told_apart(lead) else "white"}
    axis.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", capsize=3, markersize=6, **look)


def ablation_chart(figure: Figure, summary: Summary) -> bool:
    """What Stream-T1 loses without each unit; False where the suite takes none out."""
    if not _draw_effects(figure, summary, True, "lost when the unit is taken out"):
        return False
    below = "Blue: it helps. Grey: not told apart from nothing. Red: it harms."
    headline(figure, "What each unit of Stream-T1 adds", f"{below} {INTERVALS}")
    return True


def variant_chart(figure: Figure, summary: Summary) -> bool:
    """What other ways to search have more than Stream-T1; False where the suite has none."""
    if not _draw_effects(figure, summary, False, "gain over Stream-T1"):
        return False
    below = "Blue: better than Stream-T1. Grey: not told apart from it. Red: worse."
    headline(figure, "Other ways, against Stream-T1", f"{below} {INTERVALS}")
    return True


def _draw_effects(figure: Figure, summary: Summary, units: bool, what: str) -> bool:
    """A panel for each length, a bar for each comparison, each panel with names of its own; whether there are any."""
    found = {length: effects(budgets, units) for length, budgets in summary["lengths"].items()}
    found = {length: shown for length, shown in found.items() if shown}
    if not found:
        return False
    rows = max(map(len, found.values()))
    figure.set_size_inches(max(9.0, 5.6 * len(found)), 1.9 + 0.55 * rows)
    panels = figure.subplots(1, len(found), sharex=True, squeeze=False)[0]
    for axis, (length, shown) in zip(panels, found.items()):
        for place, (_, _, effect) in enumerate(shown):
            _draw_effect(axis, place, effect, scale(summary["judge"]))
        axis.set_yticks(range(len(shown)), [label(name).removeprefix("without ") for name, _, _ in shown])
        axis.set_ylim(rows - 0.4, -0.7)
        axis.axvline(0, color="black", linewidth=1)
        axis.set_xlabel(f"{what}, {unit(summary['judge'])}")
        axis.set_title(f"{clips(length)},\n{candidates(shown[0][1])} candidates", loc="left", fontweight="bold")
    return True


def _draw_effect(axis: Axes, place: int, effect: dict[str, float], factor: float) -> None:
    mean, low, high = (effect[name] * factor for name in ("mean", "low", "high"))
    shade = {1: BLUE, -1: RED, 0: GREY}[told_apart(effect)]
    axis.barh(place, mean, height=0.42, color=shade, alpha=0.85)
    axis.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color="black", capsize=4, linewidth=1.2)
    text = {"textcoords": "offset points", "xytext": (0, 15), "ha": "center", "fontsize": 8, "zorder": 5}
    text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axis.annotate(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]  n={effect['n']:.0f}", (mean, place), **text)


def _sample(budgets: dict[str, Any]) -> str:
    """How many clips stand behind each point."""
    found = [numbers for methods in budgets.values() for numbers in methods.values()]
    most = max(found, key=lambda numbers: numbers["n"])
    return f"{most['prompts']} prompts, {most['n']} clips a point"
