"""The chart of devices: how much faster a search is on several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamt1.evaluation.drawing import BLUE, GREEN, GREY, RED, headline
from streamt1.evaluation.figures import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADES = (GREEN, BLUE, RED)


def chart(found: dict[str, Any]) -> bytes:
    """Speed-up against devices, measured and computed, as PNG. Raises ``MissingExtraError``."""
    rate, slow = found["tflops_assumed"], found["slow"]
    below = (
        f"Simulated: devices sleep as long as {rate:.0f} TFLOP/s take, {slow:g} times slower; all else is real."
        " Dashed: computed."
    )

    def draw(figure: Figure) -> None:
        _draw(figure.subplots(), found["rows"])
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        headline(figure, "How far more devices carry one search", below)

    return png((7.6, 5.4), draw)


def _draw(axis: Axes, rows: list[dict[str, Any]]) -> None:
    counts = sorted({row["devices"] for row in rows})
    axis.plot(counts, counts, color=GREY, linewidth=1, linestyle=":", label="as many times as devices")
    for name, shade in zip(dict.fromkeys(row["search"] for row in rows), SHADES):
        own = [row for row in rows if row["search"] == name]
        x = [row["devices"] for row in own]
        axis.plot(x, [row["computed_speed_up"] for row in own], "--", color=shade, linewidth=1)
        axis.plot(x, [row["speed_up"] for row in own], "o-", color=shade, markersize=5, label=name)
        text: dict[str, Any] = {"xytext": (6, -12), "textcoords": "offset points", "color": shade}
        axis.annotate(f"{own[-1]['speed_up']:.1f}", (x[-1], own[-1]["speed_up"]), fontweight="bold", **text)
    for scale in (axis.set_xscale, axis.set_yscale):
        scale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_yticks(counts, [str(count) for count in counts])
    axis.set_xlabel("devices")
    axis.set_ylabel("times faster than one device")
    axis.grid(color="#e6e6e6")
