"""Draws the charts and writes them as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamt1.core.errors import needs_extra
from streamt1.core.files import write_whole
from streamt1.evaluation.chart_choices import picks_chart, routes_chart, wins_chart
from streamt1.evaluation.chart_gains import ablation_chart, cost_chart, rival_chart, variant_chart
from streamt1.evaluation.chart_scenes import scenes_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARTS: dict[str, tuple[Callable[[Figure, dict[str, Any]], bool], str]] = {
    "cost": (cost_chart, "Gain over one sample against cost, with 95% intervals."),
    "rivals": (rival_chart, "Gain over best of n with as many candidates, with 95% intervals."),
    "scenes": (scenes_chart, "Gains against the number of scenes of a video, with 95% intervals."),
    "ablation": (ablation_chart, "What is lost when one unit is taken out."),
    "variants": (variant_chart, "What other ways to search gain over Stream-T1."),
    "wins": (wins_chart, "How often Stream-T1 wins, ties and loses, pair by pair."),
    "picks": (picks_chart, "Random pick, the rewards' pick and the best pick of the same candidates."),
    "routes": (routes_chart, "Routes of the chosen clips' chunks."),
}
"""Name -> how it is drawn (False: nothing to draw), and what it shows."""
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "svg.hashsalt": "streamt1",
}
DPI = 140


def check_plotting() -> None:
    """Raises ``MissingExtraError`` where there is no matplotlib, before any time is spent."""
    with needs_extra("evaluate", "drawing an evaluation"):
        import matplotlib.figure  # noqa: F401


def png(size: tuple[float, float], draw: Callable[[Figure], None]) -> bytes:
    """A figure of so many inches, width and height, as PNG. Raises ``MissingExtraError``."""
    with needs_extra("evaluate", "drawing a chart"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    with mpl.rc_context(STYLE):
        figure, picture = Figure(figsize=size, layout="constrained"), io.BytesIO()
        draw(figure)
        figure.savefig(picture, format="png", dpi=DPI)
    return picture.getvalue()


def write_figures(summary: dict[str, Any], folder: Path) -> dict[str, str]:
    """Writes ``<name>.png`` and ``<name>.svg`` of every chart that has something to show; returns name -> SVG text.

    Raises:
        MissingExtraError, OutputError.
    """
    with needs_extra("evaluate", "drawing an evaluation"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    drawn = {}
    with mpl.rc_context(STYLE):
        for name, (draw, _) in CHARTS.items():
            figure = Figure(layout="constrained")
            if not draw(figure, summary):
                continue
            png, svg = io.BytesIO(), io.StringIO()
            figure.savefig(png, format="png", dpi=DPI)
            figure.savefig(svg, format="svg", metadata={"Date": None})
            write_whole(folder / f"{name}.png", png.getvalue())
            write_whole(folder / f"{name}.svg", svg.getvalue().encode())
            drawn[name] = svg.getvalue()
    return drawn
