"""The tree of candidates, laid out: a column for each chunk, a line from each parent to its children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from streamt1.report.story import Node, Story

HEADER = 26
"""Pixels above the first row, where the chunk is named."""
BAND = 30
"""Pixels above that, where scenes are named, if there are some."""


@dataclass(frozen=True)
class Sizes:
    """Of a thumbnail and of the room between two, in CSS pixels."""

    width: int
    height: int
    gap_x: int
    gap_y: int = 12


@dataclass(frozen=True)
class Placed:
    """A candidate and the upper left corner of its thumbnail."""

    node: Node
    x: int
    y: int


@dataclass(frozen=True)
class Edge:
    """The line to a child, as the ``d`` of an SVG path; ``status`` is the child's."""

    path: str
    status: str


@dataclass(frozen=True)
class Band:
    """The columns of a scene: the pixel before them at which it begins, their own and their width, and what it is."""

    edge: int
    x: int
    width: int
    number: int
    prompt: str


@dataclass(frozen=True)
class Tree:
    """Everything in its place. ``edges`` are in drawing order, the chosen last and so on top.

    Attributes:
        bands: the scenes, none for one prompt.
    """

    sizes: Sizes
    width: int
    height: int
    columns: tuple[int, ...]
    placed: tuple[Placed, ...]
    edges: tuple[Edge, ...]
    bands: tuple[Band, ...] = ()


def lay_out(story: Story, size: tuple[int, int]) -> Tree:
    """Places the candidates of a run whose video has ``size`` (width, height)."""
    rows = max(len(chunk) for chunk in story.chunks)
    sizes = _sizes(len(story.chunks), rows, size)
    step_x, step_y = sizes.width + sizes.gap_x, sizes.height + sizes.gap_y
    columns = tuple(2 + chunk * step_x for chunk in range(len(story.chunks)))
    header = HEADER + BAND if story.scenes else HEADER
    placed = tuple(
        Placed(node, columns[chunk], header + row * step_y)
        for chunk, nodes in enumerate(story.chunks)
        for row, node in enumerate(nodes)
    )
    width, height = columns[-1] + sizes.width + 2, header + rows * step_y
    return Tree(sizes, width, height, columns, placed, _edges(placed, sizes), _bands(story, columns, width, sizes))


def _bands(story: Story, columns: Sequence[int], width: int, sizes: Sizes) -> tuple[Band, ...]:
    """A scene begins in the middle of the gap before its first column."""
    edges = [columns[first] - sizes.gap_x // 2 for first, _ in story.beginnings] + [width]
    return tuple(
        Band(edge, columns[first], end - edge - sizes.gap_x, number, prompt)
        for number, ((first, prompt), (edge, end)) in enumerate(zip(story.beginnings, pairwise(edges)), 1)
    )


def _sizes(chunks: int, rows: int, size: tuple[int, int]) -> Sizes:
    """Large thumbnails where there are few; the area is the same for every shape of video."""
    side = 88 if chunks <= 7 and rows <= 6 else 64 if rows <= 8 else 44
    shape = min(max(size[0] / max(size[1], 1), 0.5), 2.0) ** 0.5
    return Sizes(round(side * shape), round(side / shape), round(side * (0.8 if chunks <= 7 else 0.55)))


def _edges(placed: tuple[Placed, ...], sizes: Sizes) -> tuple[Edge, ...]:
    by_id = {one.node.id: one for one in placed}
    edges = [
        Edge(_curve(by_id[one.node.parent], one, sizes), one.node.status)
        for one in placed
        if one.node.parent is not None
    ]
    order = ("pruned", "survived", "chosen")
    return tuple(sorted(edges, key=lambda edge: order.index(edge.status)))


def _curve(parent: Placed, child: Placed, sizes: Sizes) -> str:
    """From the middle of the parent's right side to the middle of the child's left one."""
    x1, y1 = parent.x + sizes.width, parent.y + sizes.height // 2
    x2, y2 = child.x, child.y + sizes.height // 2
    bend = (x1 + x2) // 2
    return f"M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}"
