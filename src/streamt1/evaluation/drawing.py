"""What the charts share: colours, headlines, stacked bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Summary = dict[str, Any]
INTERVALS = "Bars: 95% bootstrap intervals over prompts."
GREY, BLUE, RED, GREEN, PALE = "#8a8a8a", "#004488", "#bb3322", "#009e73", "#cfcfcf"


def headline(figure: Figure, title: str, below: str) -> None:
    figure.suptitle(f"{title}\n\n", x=0.01, ha="left", fontsize=14, fontweight="bold", linespacing=0.8)
    figure.text(0.01, 1 - 0.36 / figure.get_figheight(), below, ha="left", va="top", fontsize=9, color="#555555")


def stack(axis: Axes, bars: list[tuple[str, dict[str, float]]], parts: tuple[tuple[str, str], ...]) -> None:
    """Horizontal bars of shares in percent, the first on top, each part with its number."""
    for place, (_, shares) in enumerate(bars):
        left = 0.0
        for name, shade in parts:
            width = 100 * shares[name]
            axis.barh(place, width, left=left, height=0.7, color=shade, label=name if place == 0 else None)
            if width >= 6:
                ink = "black" if shade == PALE else "white"
                axis.text(left + 1.5, place, f"{width:.0f}", va="center", color=ink, fontsize=9)
            left += width
    axis.set_yticks(range(len(bars)), [name for name, _ in bars])
    axis.set_xlim(0, 100)
    axis.set_ylim(len(bars) - 0.4, -0.6)
    axis.figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=len(parts), frameon=False)
