"""Ways to spoil a clip, each with a strength in (0, 1]: what the rewards learn to prefer less.

Clips are [T, 3, H, W] in [0, 1]; strength 0 would leave the clip as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamt1.pocket.scenes import PAIRED_MOTIONS, Scene, is_held_out
from streamt1.pocket.vocabulary import BACKGROUND_COLOURS, BACKGROUND_KINDS, COLOURS, DETAILS, MOTIONS, SHAPES

Spoil = Callable[[Tensor, float, np.random.Generator], Tensor]


def blur(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Averages over a square of up to 13 pixels."""
    del rng
    size = 3 + 2 * round(5 * strength)
    return F.avg_pool2d(F.pad(clip, (size // 2,) * 4, mode="replicate"), size, 1)


def grain(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Independent noise on coarse or single pixels, standard deviation up to .25."""
    scale = int(rng.choice((1, 2, 4)))
    small = rng.standard_normal((len(clip), 3, clip.shape[2] // scale, clip.shape[3] // scale)).astype(np.float32)
    noise = F.interpolate(torch.from_numpy(small), scale_factor=float(scale), mode="bilinear")
    return (clip + noise * (0.03 + 0.22 * strength)).clamp(0, 1)


def tint(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Moves and scales the channels: washed out, dark, or discoloured."""
    gain = 1 - strength * 0.6 * float(rng.random())
    shift = torch.from_numpy(rng.uniform(-0.3, 0.3, (3, 1, 1)).astype(np.float32)) * strength
    middle = clip.mean((1, 2, 3), keepdim=True)
    return ((clip - middle) * gain + middle + shift).clamp(0, 1)


def smear(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Bends the picture by a smooth random field, up to 9 pixels: shapes lose their form."""
    size = clip.shape[-1]
    coarse = torch.from_numpy(rng.standard_normal((1, 2, 6, 6)).astype(np.float32))
    field = F.interpolate(coarse, size=(size, size), mode="bicubic").permute(0, 2, 3, 1)
    base = F.affine_grid(torch.eye(2, 3)[None], [1, 1, size, size], align_corners=False)
    bent = (base + field * (0.04 + 0.24 * strength)).expand(len(clip), -1, -1, -1)
    return F.grid_sample(clip, bent, padding_mode="border", align_corners=False)


def choppy(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Holds each frame for up to 12 frames."""
    del rng
    hold = 2 + round(10 * strength)
    return clip[torch.arange(len(clip)) // hold * hold]


def shuffle(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Adds noise to the order of frames: jerks back and forth."""
    order = np.arange(len(clip)) + np.round(rng.standard_normal(len(clip)) * (1.5 + 8 * strength)).astype(int)
    return clip[torch.from_numpy(order.clip(0, len(clip) - 1))]


def jump(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Cuts to other times of the clip: the object teleports."""
    order = np.arange(len(clip))
    for _ in range(1 + round(4 * strength)):
        at = int(rng.integers(1, max(2, len(clip))))
        order[at:] = (order[at:] + int(rng.integers(8, 40))) % len(clip)
    return clip[torch.from_numpy(order)]


def shake(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Moves every frame by a random offset, up to 6 pixels."""
    most = 1 + round(5 * strength)
    moved = [torch.roll(f, tuple(int(v) for v in rng.integers(-most, most + 1, 2)), (1, 2)) for f in clip]
    return torch.stack(moved)


def flicker(clip: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Changes the brightness of every frame by up to .35."""
    level = rng.uniform(-1, 1, (len(clip), 1, 1, 1)).astype(np.float32) * (0.05 + 0.3 * strength)
    return (clip + torch.from_numpy(level)).clamp(0, 1)


PICTURE: tuple[Spoil, ...] = (blur, grain, tint, smear)
MOTION: tuple[Spoil, ...] = (choppy, shuffle, jump, shake, flicker)


def mismatch(scene: Scene, words: int, rng: np.random.Generator) -> tuple[Scene, float, float]:
    """A scene with `words` attributes changed, and how much of it still fits: over all attributes, and without motion.

    Never gives a held-out combination.
    """
    options = {"colour": COLOURS, "shape": SHAPES, "detail": ("", *DETAILS), "kind": BACKGROUND_KINDS}
    options["motion"] = MOTIONS if len(scene.things) == 1 else PAIRED_MOTIONS
    while True:
        things, grounds = list(scene.things), list(scene.grounds)
        slots = _slots(scene)
        picked = [slots[int(i)] for i in rng.choice(len(slots), min(words, len(slots)), replace=False)]
        for part, index, name in picked:
            line: list[Any] = things if part == "thing" else grounds
            names = BACKGROUND_COLOURS if (part, name) == ("ground", "colour") else options[name]
            others = [other for other in names if other != getattr(line[index], name)]
            line[index] = replace(line[index], **{name: others[int(rng.integers(len(others)))]})
        if any(is_held_out(thing) for thing in things) or len(set(grounds)) < len(grounds):
            continue
        changed = Scene(tuple(things), tuple(grounds))
        return changed, *agreement(changed, scene)


def _slots(scene: Scene) -> list[tuple[str, int, str]]:
    """Everything a prompt says: (thing or ground, its index, the attribute). Two objects have no details."""
    names = ("colour", "shape", "motion", "detail")[: 4 if len(scene.things) == 1 else 3]
    things = [("thing", index, name) for index in range(len(scene.things)) for name in names]
    return things + [("ground", index, name) for index in range(len(scene.grounds)) for name in ("colour", "kind")]


def agreement(asked: Scene, shown: Scene) -> tuple[float, float]:
    """Share of attributes that two scenes have in common, over all and without motion; parts compare in order."""
    things = list(zip_longest(asked.things, shown.things))
    grounds = list(zip_longest(asked.grounds, shown.grounds))
    looks = [_same(a, b, name) for a, b in things for name in ("colour", "shape", "detail")]
    looks += [_same(a, b, name) for a, b in grounds for name in ("colour", "kind")]
    moves = [_same(a, b, "motion") for a, b in things]
    return float(np.mean(looks + moves)), float(np.mean(looks))


def _same(a: object, b: object, name: str) -> bool:
    return a is not None and b is not None and getattr(a, name) == getattr(b, name)
