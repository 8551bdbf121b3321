"""Noise lineage: each chunk of the video began from noise that remembers the noise of the chunk before it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from streamt1.report.story import Node, Story

SIDE = 4
"""A tile has ``SIDE * SIDE`` numbers."""


@dataclass(frozen=True)
class Tile:
    """The noise of one chunk.

    Attributes:
        seed: of the chunk's own draw, as short hexadecimal; ``given`` for a chunk that was not made.
        same_draw: whether the draw repeats that of the chunk before (the official seed rule does this).
        shades: numbers that stand for the noise, 0 dark .. 1 light. They are drawn from the seed and mixed by the rule
            of the run, but by another generator: a picture of the inheritance, not of the tensor.
        shares: weights of the draws in this noise, own first, then the chunk before and so on; small ones left out.
    """

    node: Node
    seed: str
    same_draw: bool
    shades: tuple[float, ...]
    shares: tuple[tuple[int, float], ...]


def noise_lineage(story: Story) -> list[Tile]:
    """The tiles of the chosen video."""
    strength = float(story.config.get("noise_strength", 0.0)) if story.config.get("propagation") else 0.0
    tiles: list[Tile] = []
    mixed: list[float] = []
    given = story.started.given
    for chunk, node in enumerate(story.lineage):
        if chunk < given:
            tiles.append(Tile(node, "given", False, (0.0,) * SIDE**2, ()))
            continue
        draw = _draw(node.seed)
        mixed = [strength * old + math.sqrt(1 - strength**2) * new for old, new in zip(mixed, draw)] or draw
        shades = tuple(round(0.5 + 0.5 * math.erf(value / 2), 2) for value in mixed)
        same = chunk > given and node.seed == story.lineage[chunk - 1].seed
        tiles.append(Tile(node, f"{node.seed:x}"[:6], same, shades, _shares(chunk, given, strength)))
    return tiles


def _draw(seed: int) -> list[float]:
    numbers = random.Random(seed)
    return [numbers.gauss(0, 1) for _ in range(SIDE * SIDE)]


def _shares(chunk: int, first: int, strength: float) -> tuple[tuple[int, float], ...]:
    """``noise_t`` unrolled: ``b^k`` times the draw of ``k`` chunks ago; only the first draw keeps its whole size."""
    fresh, sources = math.sqrt(1 - strength**2), range(chunk, first - 1, -1)
    weights = [(source, strength ** (chunk - source) * (fresh if source > first else 1.0)) for source in sources]
    return tuple((source, weight) for source, weight in weights[:4] if abs(weight) >= 0.005)
