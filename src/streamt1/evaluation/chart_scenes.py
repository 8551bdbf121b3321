"""The chart of scenes: what a search gains, as videos have more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamt1.evaluation.drawing import INTERVALS, Summary, headline
from streamt1.evaluation.labels import GAINS, candidates, colour, label, scale, unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = dict[str, list[tuple[int, dict[str, float]]]]
"""Method -> number of scenes, and its gain."""


def scenes_chart(figure: Figure, summary: Summary) -> bool:
    """Gains over one sample and both kinds of best of n, against the number of scenes of a video.

    False unless there are clips of several numbers of scenes, none of which returns.
    """
    panels = {title: found for gain, title in GAINS.items() if (found := _points(summary, gain))}
    if len({scenes for found in panels.values() for points in found.values() for scenes, _ in points}) < 2:
        return False
    figure.set_size_inches(4.6 * len(panels), 4.9)
    factor, methods = scale(summary["judge"]), dict.fromkeys(m for found in panels.values() for m in found)
    for axis, (title, found) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items()):
        for place, (method, points) in enumerate(found.items()):
            x = [scenes + 0.08 * place for scenes, _ in points]
            mean, low, high = ([factor * gain[name] for _, gain in points] for name in ("mean", "low", "high"))
            spread = [[m - a for m, a in zip(mean, low)], [b - m for m, b in zip(mean, high)]]
            axis.errorbar(x, mean, yerr=spread, fmt="o-", capsize=3, markersize=5, color=colour(method))
        axis.axhline(0, color="black", linewidth=1)
        axis.set_xticks(sorted({scenes for points in found.values() for scenes, _ in points}))
        axis.set_xlabel("scenes of a video")
        axis.set_title(f"over {title}", loc="left", fontweight="bold")
        axis.grid(axis="y", color="#e6e6e6")
    first = figure.axes[0]
    first.set_ylabel(f"gain, {unit(summary['judge'])}")
    for method in methods:
        first.plot([], [], "o-", color=colour(method), label=label(method))
    figure.legend(loc="outside lower center", ncols=len(methods), frameon=False)
    width = f"{candidates(_widest(summary) or '1x1')} candidates a chunk"
    headline(figure, "What scenes have to do with it", f"Above the line: better, with {width}. {INTERVALS}")
    return True


def _points(summary: Summary, gain: str) -> Points:
    """At the widest budget that all have; ablations are left out."""
    found: Points = {}
    widest = _widest(summary)
    for letters, budgets in _without_returns(summary):
        for method, numbers in budgets.get(widest or "", {}).items():
            if gain in numbers and "loss_without_unit" not in numbers:
                found.setdefault(method, []).append((len(letters), numbers[gain]))
    return {method: sorted(points, key=lambda point: point[0]) for method, points in found.items()}


def _without_returns(summary: Summary) -> list[tuple[str, dict[str, Any]]]:
    """The scenes of clips in which none comes back, and their budgets."""
    named = [(length.partition(" x "), budgets) for length, budgets in summary["lengths"].items()]
    letters = [(scenes if several else "A", budgets) for (scenes, several, _), budgets in named]
    return [(scenes, budgets) for scenes, budgets in letters if len(set(scenes)) == len(scenes)]


def _widest(summary: Summary) -> str | None:
    """The budget of most candidates at which a search was run at each of those lengths; None where there is none."""
    each = [{budget for budget in budgets if candidates(budget) > 1} for _, budgets in _without_returns(summary)]
    return max(set.intersection(*each), key=candidates, default=None) if each else None
