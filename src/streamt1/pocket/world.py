"""The procedural world of the pocket model: clips of which everything is known.

Clips are 64x64 RGB at 16 fps. An object is about 24 pixels wide; two objects (a minority) live in the left and the
right half. Backgrounds follow from their words alone, so whatever else appears is an error an oracle can see. Some
things a prompt leaves open and a clip must keep: an object's size, the tone (black or white) of its dot or bar, the
half that its patch or cap covers, the way it crosses the frame, out of sight for a while, and the side of the wall that
it hides behind.
"""

from __future__ import annotations

import math

import numpy as np

from streamt1.pocket.paths import EXTENT, SIZE, WALL, Floats, Take, positions, sample_take
from streamt1.pocket.scenes import Ground, Scene, sample_scene

FPS = 16

OBJECT_RGB = {
    "red": (0.90, 0.12, 0.12), "orange": (0.98, 0.55, 0.08), "yellow": (0.97, 0.92, 0.20),
    "green": (0.12, 0.78, 0.22), "blue": (0.12, 0.38, 0.97), "purple": (0.65, 0.18, 0.88),
}  # fmt: skip
BACKGROUND_RGB = {
    "black": (0.05, 0.05, 0.06), "gray": (0.50, 0.50, 0.50), "white": (0.94, 0.94, 0.94),
    "brown": (0.40, 0.27, 0.18), "navy": (0.07, 0.09, 0.28), "teal": (0.10, 0.40, 0.42),
}  # fmt: skip
TONE_STEP = 0.16
"""How far the second tone of a background is from the first, in every channel: lighter, but darker for white."""
TONE_RGB = {"black": (0.03, 0.03, 0.03), "white": (0.98, 0.98, 0.98)}
"""Of an object's dot or bar."""
PAINT_RGB = (0.98, 0.50, 0.78)
"""Pink: of a patch or a cap; neither an object nor a background has it."""
WALL_RGB = (0.86, 0.70, 0.52)
PAINTED = ("patch", "cap")
"""Details that are halves of an object, painted; the others lie in its middle."""
DOT = 0.42
"""Radius of a dot, and half the sides of a bar, over the object's nominal radius."""
BAR = (0.55, 0.22)


def coverage(shape: str, centre: Floats, radius: Floats | float) -> Floats:
    """How much of each pixel a shape covers, [T, 64, 64] in [0, 1], for centres [T, 2] and a nominal radius."""
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    x = grid[None, None, :] - centre[:, 0, None, None]
    y = grid[None, :, None] - centre[:, 1, None, None]
    size = np.asarray(radius, dtype=np.float32).reshape(-1, 1, 1) * np.float32(EXTENT[shape])
    if shape == "circle":
        distance = np.sqrt(x * x + y * y) - size
    elif shape == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - size
    elif shape == "triangle":
        edge = np.float32(math.sqrt(3) / 2)
        distance = np.maximum(edge * np.abs(x) - 0.5 * y, y) - size / 2
    else:
        distance = _star_distance(x, y, size)
    return np.clip(0.5 - distance, 0, 1)


def _star_distance(x: Floats, y: Floats, size: Floats) -> Floats:
    """Signed distance (near the edge) to a five-pointed star with one point up; size is its outer radius."""
    fifth = 2 * math.pi / 5
    rho = np.sqrt(x * x + y * y)
    angle = np.abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
    inner = 0.5
    dx, dy = inner * math.cos(fifth / 2) - 1, inner * math.sin(fifth / 2)
    length = math.hypot(dx, dy)
    across = (rho * np.cos(angle) - size) * (dy / length) - rho * np.sin(angle) * (dx / length)
    return across.astype(np.float32)


def detail_coverage(detail: str, centre: Floats, radius: Floats | float) -> Floats:
    """How much of each pixel a dot or a bar covers, [T, 64, 64] in [0, 1]; arguments as for `coverage`."""
    size = np.asarray(radius, dtype=np.float32).reshape(-1, 1, 1)
    if detail == "dot":
        return coverage("circle", centre, size * DOT)
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    x = np.abs(grid[None, None, :] - centre[:, 0, None, None]) - size * BAR[0]
    y = np.abs(grid[None, :, None] - centre[:, 1, None, None]) - size * BAR[1]
    return np.clip(0.5 - np.maximum(x, y), 0, 1)


def half_plane(detail: str, choice: int, centre: Floats) -> Floats:
    """How much of each pixel lies in the half that a patch or a cap covers, [T, 64, 64] in [0, 1]; centres [T, 2]."""
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    if detail == "patch":
        beyond = grid[None, None, :] - centre[:, 0, None, None]
    else:
        beyond = grid[None, :, None] - centre[:, 1, None, None]
    share = np.clip((beyond if choice else -beyond) + 0.5, 0, 1)
    return np.broadcast_to(share, (len(centre), SIZE, SIZE)).astype(np.float32)


def wall_region(side: str) -> np.ndarray:
    """Where a wall stands, [64, 64] bool."""
    columns = np.arange(SIZE) < WALL if side == "left" else np.arange(SIZE) >= SIZE - WALL
    return np.broadcast_to(columns, (SIZE, SIZE))


def background(ground: Ground) -> Floats:
    """The picture behind the objects, [3, 64, 64] in [0, 1]; it does not move."""
    first = np.array(BACKGROUND_RGB[ground.colour], dtype=np.float32)
    second = first - TONE_STEP if ground.colour == "white" else first + TONE_STEP
    grid = np.arange(SIZE)
    if ground.kind == "plain":
        share = np.zeros((SIZE, SIZE), dtype=np.float32)
    elif ground.kind == "striped":
        share = np.broadcast_to((grid // 8) % 2, (SIZE, SIZE)).astype(np.float32)
    elif ground.kind == "checkered":
        share = ((grid[:, None] // 16 + grid[None, :] // 16) % 2).astype(np.float32)
    else:
        offset = (grid % 16) - 7.5
        share = np.clip(5.0 - np.sqrt(offset[:, None] ** 2 + offset[None, :] ** 2), 0, 1).astype(np.float32)
    return first[:, None, None] * (1 - share) + second[:, None, None] * share


def render(scene: Scene, take: Take, frames: int, start: int = 0) -> Floats:
    """Draw a clip, [T, 3, 64, 64] in [0, 1]; the first object is in front. `start` is the first frame's time."""
    times = np.arange(start, start + frames)
    turns = np.searchsorted(np.asarray(take.cuts), times, side="right") % len(scene.grounds)
    clip = np.stack([background(ground) for ground in scene.grounds])[turns]
    for thing, path in reversed(list(zip(scene.things, take.paths, strict=True))):
        track = positions(path, frames, start)
        _paint(clip, coverage(thing.shape, track, path.radius), OBJECT_RGB[thing.colour])
        if thing.detail in PAINTED:
            half = half_plane(thing.detail, path.choice, track)
            _paint(clip, coverage(thing.shape, track, path.radius) * half, PAINT_RGB)
        elif thing.detail:
            _paint(clip, detail_coverage(thing.detail, track, path.radius), list(TONE_RGB.values())[path.choice])
        if path.wall:
            _paint(clip, wall_region(path.wall)[None].astype(np.float32), WALL_RGB)
    return clip


def _paint(clip: Floats, share: Floats, rgb: tuple[float, float, float]) -> None:
    """Lays a colour over a clip [T, 3, H, W], in place, where a share [T or 1, H, W] says."""
    clip += share[:, None] * (np.array(rgb, dtype=np.float32)[None, :, None, None] - clip)


def sample_clip(rng: np.random.Generator, frames: int, start: int = 0, two: float = 0.08) -> tuple[Scene, Floats]:
    """A random training scene and its clip, [T, 3, 64, 64] in [0, 1]."""
    scene = sample_scene(rng, two=two)
    return scene, render(scene, sample_take(rng, scene), frames, start)
