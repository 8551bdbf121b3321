"""The chart of work that is not done: what the oracle says of it, by how much of the work is spared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamt1.evaluation.drawing import BLUE, GREY, RED, headline
from streamt1.evaluation.figures import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALLOWED = 0.01
"""Part of the oracle's reading that sparing work may cost."""


@dataclass(frozen=True)
class Panel:
    """One model.

    Attributes:
        title: above it.
        plain: the oracle's reading where all work is done, 0..1.
        lines: by name, rows of ``bench.sampling.beside`` with a ``share``.
    """

    title: str
    plain: float
    lines: dict[str, Sequence[dict[str, Any]]]


def chart(panels: Sequence[Panel], title: str, below: str, spared: str) -> bytes:
    """PNG. Raises ``MissingExtraError``.

    Args:
        spared: what the shares are of.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _draw(axis, panel)
            axis.set_xlabel(spared)
        axes[0].set_ylabel("oracle against all work, points")
        lines = axes[0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=len(lines[0]), frameon=False)
        headline(figure, title, below)

    return png((4.2 * len(panels) + 1, 4.6), draw)


def _draw(axis: Axes, panel: Panel) -> None:
    axis.axhline(0, color=GREY, linewidth=1)
    axis.axhline(-100 * ALLOWED * panel.plain, color=GREY, linewidth=1, linestyle=":", label=f"{ALLOWED:.0%} of it")
    for (name, rows), shade in zip(panel.lines.items(), (BLUE, RED)):
        x, y, half = ([row[key] for row in rows] for key in ("share", "difference", "half_interval"))
        percent = [[100 * value for value in values] for values in (x, y, half)]
        axis.errorbar(percent[0], percent[1], percent[2], fmt="o-", color=shade, markersize=5, capsize=3, label=name)
    axis.set_title(f"{panel.title}: {100 * panel.plain:.1f}", fontsize=10)
    axis.grid(axis="y", color="#e6e6e6")
