"""How well a background shows."""

from __future__ import annotations

import numpy as np

from streamt1.pocket.palette import ramp
from streamt1.pocket.paths import SIZE, Floats
from streamt1.pocket.scenes import Ground
from streamt1.pocket.vocabulary import BACKGROUND_KINDS
from streamt1.pocket.world import background


def fit_ground(clip: Floats, outside: np.ndarray, ground: Ground) -> Floats:
    """How well each frame of a clip [T, 3, 64, 64] shows a background where no object is, [T] in [0, 1]."""
    free = outside.astype(np.float32)
    count = np.maximum(free.sum((1, 2)), 1)
    asked = background(ground)
    seen_mean = (clip * free[:, None]).sum((2, 3)) / count[:, None]
    true_mean = np.einsum("chw,thw->tc", asked, free) / count[:, None]
    colour = 1 - ramp(np.abs(seen_mean - true_mean).mean(1), 0.04, 0.15)
    error, ideal = {}, {}
    for kind in BACKGROUND_KINDS:
        picture = background(Ground(ground.colour, kind))
        error[kind] = (np.abs(clip - picture).mean(1) * free).sum((1, 2)) / count
        ideal[kind] = (np.abs(asked - picture).mean(0) * free).sum((1, 2)) / count
    others = [kind for kind in BACKGROUND_KINDS if kind != ground.kind]
    lead = np.min([error[kind] for kind in others], axis=0) - error[ground.kind]
    perfect = np.min([ideal[kind] for kind in others], axis=0)
    pattern = ramp(lead / np.maximum(perfect, 1e-6), 0.0, 0.6)
    return (0.5 * colour + 0.5 * pattern) * ramp(count / SIZE**2, 0.15, 0.3)
