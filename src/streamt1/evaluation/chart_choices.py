"""Charts of choices: who wins, how well the rewards choose, what the memory keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamt1.evaluation.drawing import BLUE, GREEN, GREY, PALE, RED, Summary, headline, stack
from streamt1.evaluation.labels import candidates, clips, curves, label, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def wins_chart(figure: Figure, summary: Summary) -> bool:
    """How often Stream-T1 beats one sample, and best of n at the same number of candidates."""
    bars = [
        (f"{short(length)}, {candidates(budget)} candidates", methods["stream_t1"][key], rival)
        for length, budgets in summary["lengths"].items()
        for budget, methods in budgets.items()
        for key, rival in _RIVALS
        if key in methods.get("stream_t1", {})
    ]
    if not bars:
        return False
    shown = {rival: [(name, _shares(gain)) for name, gain, against in bars if against == rival] for _, rival in _RIVALS}
    shown = {rival: found for rival, found in shown.items() if found}
    figure.set_size_inches(11, 1.7 + 0.36 * max(map(len, shown.values())))
    for axis, (rival, found) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items()):
        stack(axis, found, (("wins", BLUE), ("ties", PALE), ("losses", RED)))
        axis.axvline(50, color="black", linewidth=1, linestyle=":")
        axis.set_title(f"against {rival}", loc="left", fontweight="bold")
        axis.set_xlabel("% of clips, paired by prompt and seed")
    judge = summary["judge"].replace("_", " ")
    unseen = f"the {judge}, which the search does not see" if judge.startswith("oracle") else judge
    headline(figure, "How often Stream-T1 wins", f"Judged by {unseen}.")
    return True


_RIVALS = (("gain_over_greedy", "one sample"), ("gain_over_best_of_n_at_equal_cost", "best of n, as many candidates"))


def _shares(gain: dict[str, float]) -> dict[str, float]:
    wins = gain["win_rate"] - gain["tie_rate"] / 2
    return {"wins": wins, "ties": gain["tie_rate"], "losses": 1 - wins - gain["tie_rate"]}


def routes_chart(figure: Figure, summary: Summary) -> bool:
    """What became of chunks: the shares of the three routes; False where nothing was routed."""
    bars = [
        (f"{short(length)}, {label(method)}, {candidates(budget)} candidates", numbers["routes"])
        for length, budgets in summary["lengths"].items()
        for budget, methods in budgets.items()
        for method, numbers in methods.items()
        if "routes" in numbers and "loss_without_unit" not in numbers
    ]
    if not bars:
        return False
    figure.set_size_inches(11, 1.7 + 0.36 * len(bars))
    axis = figure.subplots()
    stack(axis, bars, (("discard", PALE), ("ema", "#56b4e9"), ("append", GREEN)))
    axis.set_xlabel("% of the chosen clip's chunks after the first")
    headline(figure, "What the memory keeps", "discard: forgotten; ema: blended into a sink; append: a new sink")
    return True


def picks_chart(figure: Figure, summary: Summary) -> bool:
    """How well the rewards choose: a random pick, theirs, and the best, in the oracle's eyes."""
    found = {
        length: [
            (f"{label(method)}, {candidates(budget)}", numbers["picks"])
            for method, points in curves(budgets).items()
            for budget, numbers in points
            if method != "greedy" and "picks" in numbers
        ]
        for length, budgets in summary["lengths"].items()
    }
    found = {length: bars for length, bars in found.items() if bars}
    if not found:
        return False
    rows = max(map(len, found.values()))
    figure.set_size_inches(max(11.0, 5.6 * len(found)), 1.9 + 0.34 * rows)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (length, bars) in zip(panels, found.items()):
        for place, (_, picks) in enumerate(bars):
            values = [100 * picks[f"pick_{name}"] for name in ("random", "chosen", "best")]
            axis.plot([values[0], values[2]], [place, place], color=PALE, linewidth=5, zorder=1)
            for value, shade, mark in zip(values, (GREY, BLUE, GREEN), "soD"):
                axis.scatter(value, place, color=shade, marker=mark, s=38, zorder=2)
        axis.set_yticks(range(len(bars)), [name for name, _ in bars])
        axis.set_ylim(rows - 0.5, -0.5)
        axis.set_xlabel("oracle points of what was picked")
        axis.set_title(clips(length), loc="left", fontweight="bold")
        axis.grid(axis="x", color="#e6e6e6")
    for name, shade, mark in zip(("random pick", "the rewards' pick", "best pick"), (GREY, BLUE, GREEN), "soD"):
        panels[0].scatter([], [], color=shade, marker=mark, label=name)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    headline(figure, "How well the rewards choose among their candidates", _PICKS)
    return True


_PICKS = (
    "Numbers: candidates per chunk. From blue to green is the regret. Best of n chooses whole clips, the others"
    " clips so far: compare within a row."
)
