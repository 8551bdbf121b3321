"""Charts of what a search gains, and of what each unit adds. A chart says by itself what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamt1.evaluation.drawing import BLUE, GREY, INTERVALS, RED, Summary, headline
from streamt1.evaluation.labels import candidates, colour, curves, label, scale, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cost_chart(figure: Figure, summary: Summary) -> bool:
    """Quality against cost: a row for each length, against model passes on the left, seconds on the right."""
    lengths = summary["lengths"]
    figure.set_size_inches(11, 0.9 + 3.9 * len(lengths))
    axes = figure.subplots(len(lengths), 2, sharey="row", squeeze=False)
    for row, (length, budgets) in zip(axes, lengths.items()):
        names = (("model_passes", "model passes per clip"), ("seconds", "seconds per clip, with decoding and rewards"))
        for axis, (cost, name) in zip(row, names):
            _draw_curves(axis, curves(budgets), cost, summary["judge"])
            axis.set_xlabel(name)
        row[0].set_ylabel(f"gain over one sample,\n{unit(summary['judge'])}")
        row[0].set_title(f"{length} s clips ({_sample(budgets)})", loc="left", fontweight="bold")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names), frameon=False)
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
        axis.errorbar(x, y, spread, capsize=3, linewidth=2.4 if method == "stream_t1" else 1.5, **look)
        if method == "stream_t1":
            for (budget, _), place, height in zip(points, x, y):
                text = {"xytext": (-7, 6), "textcoords": "offset points", "ha": "right", "fontweight": "bold"}
                axis.annotate(str(candidates(budget)), (place, height), color=colour(method), **text)
    if "greedy" in lines:
        numbers = lines["greedy"][0][1]
        text = {"xytext": (-4, 6), "textcoords": "offset points", "color": colour("greedy"), "fontsize": 9}
        axis.annotate(f"{numbers[judge]['mean'] * factor:.1f}", (numbers["cost"][cost], 0), **text)
    axis.axhline(0, color=GREY, linewidth=1, linestyle=":")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axis.grid(axis="y", color="#e6e6e6")


def ablation_chart(figure: Figure, summary: Summary) -> bool:
    """What Stream-T1 loses without each unit; False where the suite has no ablations."""
    found = {
        length: [(m, budget, n) for budget, ms in budgets.items() for m, n in ms.items() if "loss_without_unit" in n]
        for length, budgets in summary["lengths"].items()
    }
    found = {length: effects for length, effects in found.items() if effects}
    if not found:
        return False
    rows = max(map(len, found.values()))
    figure.set_size_inches(max(9.0, 5.6 * len(found)), 1.9 + 0.55 * rows)
    panels = figure.subplots(1, len(found), sharey=True, sharex=True, squeeze=False)[0]
    for axis, (length, effects) in zip(panels, found.items()):
        for place, (_, _, numbers) in enumerate(effects):
            _draw_effect(axis, place, numbers["loss_without_unit"], scale(summary["judge"]))
        axis.set_yticks(range(len(effects)), [label(name).removeprefix("without ") for name, _, _ in effects])
        axis.set_ylim(rows - 0.4, -0.7)
        axis.axvline(0, color="black", linewidth=1)
        axis.set_xlabel(f"lost when the unit is taken out, {unit(summary['judge'])}")
        axis.set_title(f"{length} s clips, {candidates(effects[0][1])} candidates", loc="left", fontweight="bold")
    headline(figure, "What each unit of Stream-T1 adds", f"{_EFFECTS} {INTERVALS}")
    return True


_EFFECTS = "Blue: it helps. Grey: not told apart from nothing. Red: it harms."


def _draw_effect(axis: Axes, place: int, effect: dict[str, float], factor: float) -> None:
    mean, low, high = (effect[name] * factor for name in ("mean", "low", "high"))
    shade = BLUE if low > 0 else RED if high < 0 else GREY
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
