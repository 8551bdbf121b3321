"""Identity: whether what comes back is what was there before."""

from __future__ import annotations

import numpy as np

from streamt1.pocket.oracle import measure
from streamt1.pocket.paths import Floats
from streamt1.pocket.scenes import Scene


def identity(first: Floats, again: Floats, scene: Scene) -> float:
    """Whether a scene that returns shows what it showed before, in [0, 1]; 1 for true renders of one take.

    Mean over the frames of ``again`` of the reading *memory*, where "first" means the first 9 clear frames of
    ``first``: the size of the object, which of two its detail is and the way that it crosses the frame stay what they
    were when the scene was shown first. Counts as much as the object is present. 0 where the object was never clear in
    ``first``: what was not shown cannot be shown again.

    Args:
        first, again: clips [T, 3, 64, 64] in [0, 1] of the first showing and of the return.
    """
    return float(measure(np.concatenate([first, again]), scene, cut=len(first)).memory[len(first) :].mean())
