"""What a prompt of the world leaves open: sizes, ways through the frame, tones of details, and when scenes change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamt1.pocket.scenes import Scene, Thing

SIZE = 64
"""Side of a frame, pixels."""
Floats = NDArray[np.floating]

EXTENT = {"circle": 1.0, "square": 0.9, "triangle": 1.28, "star": 1.32}
"""Circumscribed radius (for the square: half its side) over the nominal radius, so that the areas are alike."""
RADIUS = (11.0, 12.5)
"""Nominal radius of a single object, pixels."""
HIDING_RADIUS = (10.0, 11.0)
PAIR_RADIUS = 10.7
WALL = 26
"""Width of the wall that a hiding object moves behind, pixels; it stands at the left or the right edge."""
SEGMENTS = (2, 3, 4)
"""Chunks that a background lasts, where two take turns."""
OPENING, CHUNK = 9, 12
"""Pixel frames of the first chunk and of every other."""
LONGEST = 1000
"""Frames for which scene changes are drawn."""


@dataclass(frozen=True)
class Path:
    """What a prompt leaves open about one object: size (pixels), way through the frame, which of two its detail is.

    Position along an axis = centre + amplitude * wave(t / period + phase), with t in frames. `wave` is sine, triangle
    or saw (which jumps back, out of sight). `choice` is 0 or 1: of a dot or bar black or white, of a patch the left or
    the right half, of a cap the upper or the lower. `wall` is left, right or "".
    """

    radius: float
    centre: tuple[float, float]
    amplitude: tuple[float, float]
    period: tuple[float, float]
    phase: tuple[float, float]
    wave: str
    choice: int = 1
    wall: str = ""


@dataclass(frozen=True)
class Take:
    """One way to film a scene: a path for each object, and the frames at which the background changes."""

    paths: tuple[Path, ...]
    cuts: tuple[int, ...] = ()


def sample_take(rng: np.random.Generator, scene: Scene, opening: bool = True, like: Take | None = None) -> Take:
    """Sizes, speeds, start phases, what details are, and changes of background, at chunk boundaries.

    Args:
        opening: whether the scene opens a clip, whose first chunk is shorter.
        like: a take of one object whose size and detail stay; not for a hiding object, which has sizes of its own.
    """
    keeps = None if like is None else like.paths[0]
    paths = tuple(_sample_path(rng, thing, index, len(scene.things), keeps) for index, thing in enumerate(scene.things))
    cuts: list[int] = []
    if len(scene.grounds) > 1:
        at = OPENING - CHUNK if opening else 0
        while at < LONGEST:
            at += CHUNK * int(rng.choice(SEGMENTS))
            cuts.append(at)
    return Take(paths, tuple(cuts))


def _sample_path(rng: np.random.Generator, thing: Thing, index: int, count: int, keeps: Path | None) -> Path:
    choice = int(rng.integers(2))
    alone = count == 1
    radius = float(rng.uniform(*RADIUS)) if alone else PAIR_RADIUS
    if keeps:
        choice, radius = keeps.choice, keeps.radius
    reach_y = SIZE / 2 - 1 - radius * EXTENT[thing.shape]
    reach_x = reach_y if alone else 5.5
    centre_x = SIZE / 2 if alone else SIZE * (0.25 + 0.5 * index)
    loose = float(rng.uniform(-6, 6))
    phase = float(rng.random())
    period = float(rng.uniform(42, 54)) if alone else 36.0

    def path(centre: tuple[float, float], amplitude: tuple[float, float], turn: float = 0.0) -> Path:
        return Path(radius, centre, amplitude, (period, period), (phase, phase + turn), "sine", choice)

    if thing.motion == "sliding":
        return path((centre_x, 32 + loose), (reach_x, 0))
    if thing.motion == "bobbing":
        return path((centre_x + (loose if alone else 0.0), 32), (0, reach_y))
    if thing.motion == "circling":
        reach = min(reach_x, 14.0)
        return path((centre_x, 32), (reach, reach), float(rng.choice((0.25, -0.25))))
    if thing.motion == "bouncing":
        speed = float(rng.uniform(1.25, 1.5)) if alone else 0.8
        tall = 0.8 * reach_y if alone else reach_y
        periods, phases = (4 * reach_x / speed, 4 * tall / speed), (phase, float(rng.random()))
        return Path(radius, (centre_x, 32), (reach_x, tall), periods, phases, "triangle", choice)
    if thing.motion == "crossing":
        return _crossing(rng, radius, EXTENT[thing.shape], 32 + loose, choice)
    if thing.motion == "hiding":
        return _hiding(rng, EXTENT[thing.shape], 32 + loose, choice)
    side = float(rng.uniform(-6, 6)) if alone else 0.0
    return path((centre_x + side, 32 + loose), (0, 0))


def _crossing(rng: np.random.Generator, radius: float, extent: float, height: float, choice: int) -> Path:
    """Through the frame at one speed, out of sight for 8 to 16 frames, back in from the other side; starts in sight."""
    speed, out = float(rng.uniform(2.2, 2.8)), float(rng.uniform(8, 16))
    margin = radius * extent + 1
    reach = SIZE / 2 + margin + out * speed / 2
    start = float(rng.uniform(margin, SIZE - margin))
    way = float(rng.choice((-1.0, 1.0)))
    phase = (way * (start - SIZE / 2) / reach + 1) / 2
    period = 2 * reach / speed
    return Path(radius, (SIZE / 2, height), (way * reach, 0), (period, period), (phase, 0.0), "saw", choice)


def _hiding(rng: np.random.Generator, extent: float, height: float, choice: int) -> Path:
    """To and fro between the open side and a place behind the wall, where nothing of it is seen; starts in the open."""
    radius = float(rng.uniform(*HIDING_RADIUS))
    low, high = radius * extent + 1, SIZE - WALL + radius * extent + 3
    middle, reach = (low + high) / 2, (high - low) / 2
    wall = str(rng.choice(("left", "right")))
    way = 1.0 if wall == "right" else -1.0
    phase = -0.25 + float(rng.uniform(-0.1, 0.1))
    period = float(rng.uniform(50, 60))
    centre = middle if wall == "right" else SIZE - middle
    return Path(radius, (centre, height), (way * reach, 0), (period, period), (phase, 0.0), "sine", choice, wall)


def positions(path: Path, frames: int, start: int = 0) -> Floats:
    """Centre of the object in each frame, [T, 2] as (x, y) in pixels."""
    time = np.arange(start, start + frames, dtype=np.float64)
    axes = []
    for axis in range(2):
        turn = time / path.period[axis] + path.phase[axis]
        if path.wave == "sine":
            wave = np.sin(2 * math.pi * turn)
        elif path.wave == "triangle":
            wave = 4 * np.abs((turn - 0.25) % 1 - 0.5) - 1
        else:
            wave = 2 * (turn % 1) - 1
        axes.append(path.centre[axis] + path.amplitude[axis] * wave)
    return np.stack(axes, axis=1).astype(np.float32)
