"""Score curves: one small chart for each of short, long and fused, all candidates as dots, the video as a line."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamt1.core.words import nth
from streamt1.report.scenes import labelled
from streamt1.report.story import Node, Story

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 38, 12, 10, 24
NAMES = ("short", "long", "fused")
MOST_SCENES = 18
"""Numbers of scenes that have room above a chart."""


@dataclass(frozen=True)
class Dot:
    """One candidate's score."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Tick:
    """A mark on an axis and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """One score over the chunks, in the units of a ``WIDTH`` by ``HEIGHT`` picture.

    Attributes:
        line: of the chosen video, as the ``d`` of a path.
        summary: the chart in a sentence, for those who cannot see it.
        scenes: where each scene begins, with its number, or no label where there is no room; none for one prompt.
    """

    name: str
    dots: tuple[Dot, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str
    scenes: tuple[Tick, ...] = ()


def draw_charts(story: Story) -> list[Chart]:
    """The charts of the scores that the run has, none for policies that judge whole videos only."""
    names = ("long",) if judges_scenes(story) else NAMES
    return [_chart(story, name) for name in names] if story.scored else []


def judges_scenes(story: Story) -> bool:
    """Whether the policy judges whole scenes, at their ends, and nothing before."""
    return story.config.get("pruning") == "scene"


def _chart(story: Story, name: str) -> Chart:
    known = [(node, value) for node in story.nodes if (value := getattr(node, name)) is not None]
    low, high = _range([value for _, value in known])
    ticks = nice_ticks(low, high)

    def x(chunk: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (chunk + 0.5) / len(story.chunks), 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)

    order = ("pruned", "survived", "chosen")
    dots = [Dot(node, x(node.chunk), y(value)) for node, value in known]
    dots.sort(key=lambda dot: order.index(dot.node.status))
    chosen = [(dot.x, dot.y) for dot in sorted(dots, key=lambda dot: dot.node.chunk) if dot.node.status == "chosen"]
    line = "M" + "L".join(f"{a} {b}" for a, b in chosen) if chosen else ""
    every = max(1, math.ceil(len(story.chunks) / 8))
    x_ticks = tuple(Tick(x(chunk), str(nth(chunk))) for chunk in range(0, len(story.chunks), every))
    y_ticks = tuple(Tick(y(value), tick_label(value, ticks)) for value in ticks)
    return Chart(name, tuple(dots), line, x_ticks, y_ticks, _summary(story, name), _scenes(story))


def _scenes(story: Story) -> tuple[Tick, ...]:
    """Between the last chunk of a scene and the first of the next."""
    chunks, shown = len(story.chunks), labelled(story, MOST_SCENES)
    return tuple(
        Tick(round(LEFT + (WIDTH - LEFT - RIGHT) * first / chunks, 1), str(number) if number in shown else "")
        for number, (first, _) in enumerate(story.beginnings, 1)
    )


def _summary(story: Story, name: str) -> str:
    values = [value for node in story.lineage if (value := getattr(node, name)) is not None]
    if not values:
        return f"{name} score: no finite values"
    return (
        f"{name} score of the video over {len(story.chunks)} chunks: from {values[0]:+.2f} to {values[-1]:+.2f},"
        f" lowest {min(values):+.2f}, highest {max(values):+.2f}"
    )


def _range(values: list[float]) -> tuple[float, float]:
    """A little more than the values need, and never nothing."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    room = 0.07 * (high - low) or max(0.5, abs(high) * 1e-3)
    return low - room, high + room


def nice_ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers between ``low`` and ``high``."""
    rough = (high - low) / 5
    base = 10 ** math.floor(math.log10(rough))
    step = next(base * factor for factor in (1, 2, 5, 10) if base * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_label(value: float, ticks: list[float]) -> str:
    """A tick with as many decimals as its neighbours need, and a true minus sign."""
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{value + 0.0:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
