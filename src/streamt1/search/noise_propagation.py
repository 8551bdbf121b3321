"""Stream-Scaled Noise Propagation (paper section 3.2): a chunk's initial noise remembers the proven noise before it."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from streamt1.core.seeds import derive_seed

SeedRule = Literal["fresh", "official"]


def propagate(fresh: Tensor, parent: Tensor | None, strength: float) -> Tensor:
    """``noise_t = b * noise_{t-1} + sqrt(1 - b^2) * eps``, which keeps unit variance when ``eps`` is independent.

    Args:
        fresh: ``eps``, standard normal, ``[F, C, H, W]``.
        parent: initial noise of the parent's last chunk, itself already propagated; None for chunk 0.
        strength: ``b`` in -1..1.
    """
    if parent is None:
        return fresh
    return strength * parent + math.sqrt(1 - strength**2) * fresh


def candidate_seed(rule: SeedRule, run_seed: int, chunk: int, beam: int, candidate: int, parent: int | None) -> int:
    """The seed of one candidate's generator.

    ``fresh`` derives an independent seed for every candidate. ``official`` repeats the published code: an arithmetic
    seed, but candidate 0 of a beam reuses the seed of the beam's last chunk (``parent``), so that its ``eps`` equals
    its parent's and the propagated noise loses or gains variance (SPEC sections 4.1 and 9, item 1).
    """
    if rule == "fresh":
        return derive_seed(run_seed, chunk, beam, candidate)
    if candidate == 0 and parent is not None:
        return parent
    return run_seed + 1000 * chunk + 100 * beam + candidate
