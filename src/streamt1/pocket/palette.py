"""Which colour of the world a pixel has, and how far masks agree: what the oracle's readings are made of."""

from __future__ import annotations

import numpy as np

from streamt1.pocket.paths import SIZE, Floats
from streamt1.pocket.scenes import Scene
from streamt1.pocket.world import BACKGROUND_RGB, OBJECT_RGB, PAINT_RGB, PAINTED, TONE_STEP, WALL_RGB

_SECOND = {name: -TONE_STEP if name == "white" else TONE_STEP for name in BACKGROUND_RGB}
_TONES = [np.array(rgb) + step for name, rgb in BACKGROUND_RGB.items() for step in (0.0, _SECOND[name])]
PALETTE = np.array([*OBJECT_RGB.values(), WALL_RGB, *_TONES, PAINT_RGB], dtype=np.float32)
"""Colours of objects, the wall, the tones of backgrounds, and the paint of halves: [colours, 3] in [0, 1]."""
COLOURS = list(OBJECT_RGB)
WALL_COLOUR = len(COLOURS)
PAINT = len(PALETTE) - 1


def nearest_colours(clip: Floats, scene: Scene) -> np.ndarray:
    """Row of PALETTE that is nearest to each pixel, [T, 64, 64]; paint is one where the scene asks for it."""
    palette = PALETTE if is_painted(scene) else PALETTE[:PAINT]
    offset = np.square(palette).sum(1)[:, None]
    frames = clip.reshape(len(clip), 3, -1)
    nearest = [(offset - 2 * palette @ frame).argmin(0) for frame in frames]  # a frame at a time stays in the cache
    return np.reshape(nearest, (len(clip), SIZE, SIZE))


def is_painted(scene: Scene) -> bool:
    """Whether an object of the scene has a patch or a cap."""
    return any(thing.detail in PAINTED for thing in scene.things)


def object_pixels(nearest: np.ndarray) -> np.ndarray:
    """Which pixels belong to objects."""
    return (nearest < len(COLOURS)) | (nearest == PAINT)


def ramp(x: Floats, low: float, high: float) -> Floats:
    """(x - low) / (high - low), clipped to [0, 1]."""
    return np.clip((x - low) / (high - low), 0, 1)


def overlap(one: np.ndarray, other: np.ndarray) -> Floats:
    """Intersection over union of masks [T, H, W], [T]; 0 where both are empty."""
    return (one & other).sum((1, 2)) / np.maximum((one | other).sum((1, 2)), 1)
