"""How clearly the detail of an object is seen, and which of its two forms it has: what a prompt leaves open."""

from __future__ import annotations

import numpy as np

from streamt1.pocket.palette import PAINT, overlap, ramp
from streamt1.pocket.paths import Floats
from streamt1.pocket.scenes import Thing
from streamt1.pocket.vocabulary import DETAILS
from streamt1.pocket.world import OBJECT_RGB, PAINTED, TONE_RGB, coverage, detail_coverage, half_plane

CORE = 0.6
"""Part of an object's radius within which its dot or bar lies."""


def core(track: Floats, radius: Floats) -> np.ndarray:
    """The middle of objects at centres [T, 2] of nominal radii [T], where a dot or a bar lies: [T, 64, 64] bool."""
    return coverage("circle", track, radius * CORE) > 0.5


def read_detail(
    clip: Floats, nearest: np.ndarray, mask: np.ndarray, track: Floats, radius: Floats, thing: Thing
) -> tuple[Floats, Floats]:
    """How well each frame shows the detail of an object, whichever form it has, and how much speaks for either form.

    Args:
        clip: [T, 3, 64, 64] in [0, 1].
        nearest: of `palette.nearest_colours`.
        mask: the object's pixels, [T, 64, 64]; its centre `track` [T, 2] and nominal `radius` [T].

    Returns:
        [T] in [0, 1]: ramp(overlap of its pixels with the asked detail, .30, .65) times ramp(lead over the other detail
        of its kind, -.05, .10); and [2, T].
    """
    fit: dict[str, Floats] = {}
    if thing.detail in PAINTED:
        marked, of = mask & (nearest == PAINT), dict[str, Floats]()
        for detail in PAINTED:
            halves = [(half_plane(detail, form, track) > 0.5) & mask for form in (0, 1)]
            of[detail] = np.stack([overlap(marked, half) for half in halves])
            fit[detail] = of[detail].max(0)
        forms = of[thing.detail]
    else:
        colours = np.array([OBJECT_RGB[thing.colour], *TONE_RGB.values()], dtype=np.float32)
        distance = np.square(clip[:, None] - colours[None, :, :, None, None]).sum(2)
        middle = core(track, radius) & mask
        tones = [middle & (distance.argmin(1) == 1 + index) for index in range(2)]
        forms = np.stack([tone.sum((1, 2)) for tone in tones]).astype(np.float32)
        for detail in DETAILS:
            if detail not in PAINTED:
                ideal = (detail_coverage(detail, track, radius) > 0.5) & middle
                fit[detail] = overlap(tones[0] | tones[1], ideal)
    lead = fit[thing.detail] - max_of_others(fit, thing.detail)
    return ramp(fit[thing.detail], 0.30, 0.65) * ramp(lead, -0.05, 0.10), forms


def max_of_others(fit: dict[str, Floats], name: str) -> Floats:
    """Largest value under any other name."""
    return np.max([value for key, value in fit.items() if key != name], axis=0)


def painted_halves(nearest: np.ndarray, objects: np.ndarray, track: Floats, detail: str) -> Floats:
    """What of an object's second half is pink, less what of its first half is, [T] in -1..1."""
    shares = []
    for form in (1, 0):
        half = (half_plane(detail, form, track) > 0.5) & objects
        shares.append((half & (nearest == PAINT)).sum((1, 2)) / np.maximum(half.sum((1, 2)), 1))
    return (shares[0] - shares[1]).astype(np.float32)
