"""The oracle of the pocket world: reads a clip frame by frame and says how much of its prompt is there.

Every reading lies in [0, 1]; `ramp(x, low, high)` is (x - low) / (high - low), clipped. A pixel belongs to an object
when the nearest colour of the world's palette is an object's colour; where the prompt names a detail, whatever lies
within .6 radii of the object's centre belongs to it, too. With two objects, each is read in its own half.

A frame is *clear* when the object is seen whole: it stays 2 pixels away from the edges that it may leave by (crossing)
and from the wall (hiding). A run of frames that are not clear is *excused*, for at most 48 frames, when the object was
within 6 pixels of such an edge as it began. On excused frames presence is 1, and the other readings of the object keep
their last value from a clear frame.

- presence: visible area over the area range of the shape, ramp on both sides.
- shape: overlap (intersection over union) of the object's pixels with the asked shape of the same area and centroid,
  ramp(.60, .85), times ramp(lead over the best other shape, -.05, .03).
- colour: share of the object's pixels (without the detail) that have the asked colour, ramp(.4, .9).
- motion: velocity of the centroid over 3 frames, in a window of 33 frames; see `_motion`.
- background: half the mean colour outside the objects, 1 - ramp(error, .04, .15); half the pattern: the asked kind must
  fit better than the best other kind, ramp(lead over the lead of a perfect picture, 0, .6). Of two backgrounds that
  take turns, the better; in clips of 81 frames and more both must show within 60 frames: times ramp(share of the rarer,
  0, .1). A wall must cover its side: times ramp(intersection over union, .5, .85).
- memory: what the prompt leaves open must stay as it first was. Mean over those that apply: size, 1 - ramp(|log(area /
  first area)|, .12, .40); the detail, ramp(overlap of its pixels with the asked one, .30, .65) times ramp(lead over the
  other detail, -.05, .10), and 0 unless its tone is the first; the way of a crossing object, ramp(share of its travel
  in the first direction, .5, .9). "First" is the median over the first 9 clear frames.

Shape, colour, motion and memory count as much as the object is present. `mean` is the mean of the six.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from streamt1.pocket.paths import HIDING_RADIUS, PAIR_RADIUS, RADIUS, SIZE, WALL, Floats
from streamt1.pocket.scenes import Ground, Scene, Thing
from streamt1.pocket.vocabulary import BACKGROUND_KINDS, DETAILS, SHAPES
from streamt1.pocket.world import (
    BACKGROUND_RGB,
    OBJECT_RGB,
    TONE_RGB,
    TONE_STEP,
    WALL_RGB,
    background,
    coverage,
    detail_coverage,
    wall_region,
)

_SECOND = {name: -TONE_STEP if name == "white" else TONE_STEP for name in BACKGROUND_RGB}
_TONES = [np.array(rgb) + step for name, rgb in BACKGROUND_RGB.items() for step in (0.0, _SECOND[name])]
_PALETTE = np.array([*OBJECT_RGB.values(), WALL_RGB, *_TONES], dtype=np.float32)
_COLOURS = list(OBJECT_RGB)
_WALL = len(_COLOURS)
SIGHTS = ("seen", "x", "y", "size", "tone", "ground")
"""What `locate` gives."""
WINDOW = 16
"""Frames on either side that the motion of a frame is read from."""
FIRST = 9
"""Clear frames that say what a clip must keep."""
EXCUSED = 48
"""Frames for which an object may be out of sight, its partial views included."""
LONG = 81
"""Frames of a clip from which on leaving, hiding and changing scenes must have happened."""
NEAR = 6
"""Pixels from an edge or a wall within which an object may vanish."""
CORE = 0.6
"""Part of an object's radius within which its detail lies."""


@dataclass(frozen=True)
class Reading:
    """What the oracle says of a clip: one value in [0, 1] for each frame, [T]."""

    presence: Floats
    shape: Floats
    colour: Floats
    motion: Floats
    background: Floats
    memory: Floats

    @property
    def frames(self) -> Floats:
        """Mean of the six for each frame, [T]."""
        return np.mean([getattr(self, field.name) for field in fields(self)], axis=0)

    @property
    def mean(self) -> float:
        """Mean over frames and readings."""
        return float(self.frames.mean())

    def summary(self) -> dict[str, float]:
        """Mean of each reading over the frames, and `mean`."""
        return {**{field.name: float(getattr(self, field.name).mean()) for field in fields(self)}, "mean": self.mean}


@dataclass(frozen=True)
class _Seen:
    """One object's pixels in a clip: mask [T, H, W]; area, clear, excused, edge [T]; centroid [T, 2]; radius [T].

    `edge` says that it is cut off by the side of the frame, hidden by a wall, or not seen at all.
    """

    mask: np.ndarray
    area: Floats
    track: Floats
    radius: Floats
    clear: np.ndarray
    excused: np.ndarray
    edge: np.ndarray


def ramp(x: Floats, low: float, high: float) -> Floats:
    """(x - low) / (high - low), clipped to [0, 1]."""
    return np.clip((x - low) / (high - low), 0, 1)


def measure(clip: Floats, scene: Scene) -> Reading:
    """Reads a clip [T, 3, 64, 64] in [0, 1] against the scene that its prompt names."""
    nearest = _nearest(clip)
    objects = nearest < len(_COLOURS)
    hiding = any(thing.motion == "hiding" for thing in scene.things)
    wall = _wall_side(nearest) if hiding else None
    parts = []
    for index, thing in enumerate(scene.things):
        mask = objects
        if len(scene.things) == 2:
            region = np.broadcast_to((np.arange(SIZE) < SIZE // 2) == (index == 0), (SIZE, SIZE))
            own = nearest == _COLOURS.index(thing.colour)
            mask = objects & (region | own) & (nearest != _COLOURS.index(scene.things[1 - index].colour))
        seen = _look(mask, thing, wall, alone=len(scene.things) == 1)
        parts.append(_read_thing(clip, seen, nearest, thing, len(scene.things)))
    presence, shape, colour, motion, memory = np.mean(parts, axis=0).astype(np.float32)
    return Reading(presence, shape, colour, motion, _read_background(clip, nearest, scene, wall), memory)


def locate(clip: Floats, scene: Scene) -> Floats:
    """What is to be seen in each frame of a clip [T, 3, 64, 64], good or bad: [T, len(SIGHTS)].

    Of all object pixels together: whether there are any (0 or 1); the centroid, x to the right and y down, in -1..1;
    the square root of the area, over 32; the share of white less the share of black within .6 radii of the centroid,
    which tells a detail's tone. 0 where nothing is seen. Of two backgrounds that take turns: how much better the first
    fits than the second, in -1..1; 0 where there is one.
    """
    objects = _nearest(clip) < len(_COLOURS)
    area, track = _centroid(objects)
    ground = np.zeros_like(area)
    if len(scene.grounds) == 2:
        first, second = (_fit_ground(clip, ~objects, one) for one in scene.grounds)
        ground = first - second
    seen = area > 20
    core = _disc(track, np.sqrt(area / 3))
    light, count = clip.mean(1), np.maximum(core.sum((1, 2)), 1)
    tone = ((core & (light > 0.85)).sum((1, 2)) - (core & (light < 0.15)).sum((1, 2)).astype(np.float32)) / count
    parts = [seen, *(track.T * 2 / SIZE - 1), np.sqrt(area) / 32, tone]
    return np.stack([*(part * seen for part in parts), ground], axis=1).astype(np.float32)


def _nearest(clip: Floats) -> np.ndarray:
    """Index of the nearest palette colour of each pixel, [T, 64, 64]."""
    pixels = clip.transpose(0, 2, 3, 1).reshape(-1, 3)
    distance = np.square(_PALETTE).sum(1)[None] - 2 * pixels @ _PALETTE.T
    return distance.argmin(1).reshape(len(clip), SIZE, SIZE)


def _wall_side(nearest: np.ndarray) -> str:
    """The side on which most of the wall stands in the first frames."""
    columns = (nearest[:FIRST] == _WALL).sum((0, 1))
    return "left" if columns[: SIZE // 2].sum() > columns[SIZE // 2 :].sum() else "right"


def _unit_area(shape: str) -> float:
    """Pixels that a shape of nominal radius 1 covers (measured at 12)."""
    return float(coverage(shape, np.array([[SIZE / 2, SIZE / 2]], dtype=np.float32), 12.0).sum()) / 144


def _disc(track: Floats, radius: Floats) -> np.ndarray:
    return coverage("circle", track, radius * CORE) > 0.5


def _centroid(mask: np.ndarray) -> tuple[Floats, Floats]:
    """Area [T] and centroid [T, 2] of a mask."""
    area = mask.sum((1, 2)).astype(np.float32)
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    track = np.stack([(mask.sum(axis) * grid).sum(1) / np.maximum(area, 1) for axis in (1, 2)], axis=1)
    return area, track.astype(np.float32)


def _look(mask: np.ndarray, thing: Thing, wall: str | None, alone: bool) -> _Seen:
    area, track = _centroid(mask)
    unit = _unit_area(thing.shape)
    radius = np.sqrt(np.maximum(area, 1) / unit).astype(np.float32)
    if thing.detail:
        for _ in range(2):
            filled = mask | (_disc(track, radius) & (area > 20)[:, None, None])
            area, track = _centroid(filled)
            radius = np.sqrt(np.maximum(area, 1) / unit).astype(np.float32)
        mask = filled
    seen = area > 20
    cut, close = (seen & alone & mask[:, :, _edge_columns(wall, pixels)].any((1, 2)) for pixels in (2, NEAR))
    if thing.motion not in ("crossing", "hiding"):
        return _Seen(mask, area, track, radius, seen, np.zeros_like(seen), cut | ~seen)
    clear = seen & ~cut
    return _Seen(mask, area, track, radius, clear, _excused(clear, close), cut | ~seen)


def _edge_columns(wall: str | None, pixels: int) -> np.ndarray:
    """Columns within some pixels of where an object may vanish, [64] bool: the wall, or else both sides."""
    columns = np.arange(SIZE)
    if wall is None:
        return (columns < pixels) | (columns >= SIZE - pixels)
    return columns < WALL + pixels if wall == "left" else columns >= SIZE - WALL - pixels


def _excused(clear: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Frames that are excused: of runs that begin next to the edge, at most EXCUSED frames."""
    result = np.zeros_like(clear)
    waited, excuse = 0, False
    for index in range(1, len(clear)):
        if clear[index]:
            waited, excuse = 0, False
            continue
        if waited == 0:
            excuse = bool(clear[index - 1] and (close[index - 1] or close[index]))
        waited += 1
        result[index] = excuse and waited <= EXCUSED
    return result


def _held(values: Floats, known: np.ndarray) -> Floats:
    """Values [T] with the last known one in place of each that is not known; the first known one before it; else 0."""
    if not known.any():
        return np.zeros_like(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    held = values[last]
    first = int(known.argmax())
    held[:first] = values[first]
    return held


def _read_thing(clip: Floats, seen: _Seen, nearest: np.ndarray, thing: Thing, count: int) -> list[Floats]:
    safe = np.maximum(seen.area, 1)
    low, high = (PAIR_RADIUS, PAIR_RADIUS) if count == 2 else (HIDING_RADIUS[0], RADIUS[1])
    unit = _unit_area(thing.shape)
    full = ramp(seen.area / (unit * low**2), 0.2, 0.8) * (1 - ramp(seen.area / (unit * high**2), 1.25, 2.5))
    fit = np.stack([_overlap(seen, shape) for shape in SHAPES])
    asked = SHAPES.index(thing.shape)
    lead = fit[asked] - np.delete(fit, asked, axis=0).max(0)
    shape = ramp(fit[asked], 0.60, 0.85) * ramp(lead, -0.05, 0.03)
    coloured, size = seen.mask & (nearest == _COLOURS.index(thing.colour)), safe
    if thing.detail:
        outer = seen.mask & ~_disc(seen.track, seen.radius)
        coloured, size = coloured & outer, np.maximum(outer.sum((1, 2)), 1)
    colour = ramp(coloured.sum((1, 2)) / size, 0.4, 0.9)
    motion = _motion(seen, thing.motion, 1.0 if count == 1 else 0.5, (nearest == _WALL).mean((1, 2)))
    presence = np.where(seen.clear, full, np.where(seen.excused, 1.0, 0.0)).astype(np.float32)
    weight = np.where(seen.excused, 1.0, presence)
    held = [_held(x, seen.clear) * weight for x in (shape, colour, motion, _memory(clip, seen, thing))]
    return [presence, *held]


def _overlap(seen: _Seen, shape: str) -> Floats:
    """Intersection over union of each frame's object with a shape of its area, at its centroid, [T]."""
    radius = np.sqrt(np.maximum(seen.area, 1) / _unit_area(shape))
    ideal = coverage(shape, seen.track, radius) > 0.5
    return ((seen.mask & ideal).sum((1, 2)) / np.maximum((seen.mask | ideal).sum((1, 2)), 1)).astype(np.float32)


def _velocity(seen: _Seen) -> tuple[Floats, np.ndarray]:
    """Velocity of the centroid over 3 frames, [T, 2] in pixels a frame, and where it is known, [T]."""
    frames = len(seen.track)
    velocity, known = np.zeros_like(seen.track), np.zeros(frames, dtype=bool)
    if frames > 3:
        velocity[1:-2] = (seen.track[3:] - seen.track[:-3]) / 3
        known[1:-2] = seen.clear[3:] & seen.clear[:-3]
        velocity[0], velocity[-2:], known[0], known[-2:] = velocity[1], velocity[-3], known[1], known[-3]
    velocity[~known] = 0
    return velocity, known


def _motion(seen: _Seen, asked: str, scale: float, walled: Floats) -> Floats:
    """How well the track around each frame shows a motion, [T].

    From the velocities (x, y) of a window: speed = mean |x| + mean |y| in pixels a frame; flat = mean |x| / speed;
    bend = mean of ||x| - |y|| / (|x| + |y|), which is 0 on diagonals and about .38 on a circle. Resting: slow. Sliding:
    fast and flat. Bobbing: fast and upright. Bouncing: fast, both axes, small bend. Circling: the same, large bend.
    Crossing: fast and flat without a wall, hiding: with one; both must be cut off or out of sight for part of the 81
    frames around, all others must not. `walled` is the share of each frame that looks like a wall.
    """
    velocity, known = _velocity(seen)
    across, down = np.abs(velocity[:, 0]), np.abs(velocity[:, 1])
    counted = np.maximum(_around(known.astype(np.float32)), 1e-6)
    mean_x, mean_y = _around(across) / counted, _around(down) / counted
    speed = mean_x + mean_y
    flat = mean_x / np.maximum(speed, 1e-6)
    bend = _around(np.abs(across - down)) / counted / np.maximum(speed, 1e-6)
    fast = ramp(speed, 0.2 * scale, 0.6 * scale)
    both = ramp(np.minimum(flat, 1 - flat), 0.12, 0.26)
    score = {
        "resting": 1 - ramp(speed, 0.25, 0.6),
        "sliding": fast * ramp(flat, 0.6, 0.85),
        "bobbing": fast * ramp(1 - flat, 0.6, 0.85),
        "bouncing": fast * both * (1 - ramp(bend, 0.22, 0.36)),
        "circling": fast * both * ramp(bend, 0.16, 0.28),
        "crossing": ramp(speed, 0.8, 1.6) * ramp(flat, 0.6, 0.85),
        "hiding": fast * ramp(flat, 0.6, 0.85),
    }[asked]
    score = _held(score, counted > 1e-3)
    away = _around(seen.edge.astype(np.float32), 40)
    wall = ramp(walled, 0.05, 0.2)
    if asked in ("crossing", "hiding"):
        gone = ramp(away, 0.05, 0.2) if len(away) >= LONG else np.ones_like(away)
        return score * gone * (wall if asked == "hiding" else 1 - wall)
    return score * (1 - ramp(away, 0.15, 0.4)) * (1 - wall)


def _around(values: Floats, window: int = WINDOW) -> Floats:
    """Mean over the window around each frame, [T]."""
    total = np.concatenate([[0], np.cumsum(values, dtype=np.float64)])
    index = np.arange(len(values))
    low, high = np.maximum(index - window, 0), np.minimum(index + window + 1, len(values))
    return ((total[high] - total[low]) / (high - low)).astype(np.float32)


def _memory(clip: Floats, seen: _Seen, thing: Thing) -> Floats:
    first = np.flatnonzero(seen.clear)[:FIRST]
    if not len(first):
        return np.zeros_like(seen.area)
    size = np.log(np.maximum(seen.area, 1) / max(1.0, float(np.median(seen.area[first]))))
    parts = [1 - ramp(np.abs(size), 0.12, 0.40)]
    if thing.detail:
        parts.append(_read_detail(clip, seen, thing, first))
    if thing.motion == "crossing":
        speed = _velocity(seen)[0][:, 0]
        way = np.sign(speed[np.flatnonzero(speed)[:FIRST]].sum())
        share = _around(np.maximum(speed * way, 0)) / np.maximum(_around(np.abs(speed)), 1e-6)
        parts.append(_held(ramp(share, 0.5, 0.9), _around(np.abs(speed)) > 1e-3))
    return np.mean(parts, axis=0)


def _read_detail(clip: Floats, seen: _Seen, thing: Thing, first: np.ndarray) -> Floats:
    """How well each frame keeps the detail, [T]; `first` are the frames that say which tone it has."""
    colours = np.array([OBJECT_RGB[thing.colour], *TONE_RGB.values()], dtype=np.float32)
    distance = np.square(clip[:, None] - colours[None, :, :, None, None]).sum(2)
    core = _disc(seen.track, seen.radius) & seen.mask
    tones = [core & (distance.argmin(1) == 1 + index) for index in range(2)]
    areas = np.stack([tone.sum((1, 2)) for tone in tones])
    asked = int(np.median(areas[:, first], axis=1).argmax())
    marked = tones[0] | tones[1]
    fit = {}
    for detail in DETAILS:
        ideal = (detail_coverage(detail, seen.track, seen.radius) > 0.5) & core
        fit[detail] = (marked & ideal).sum((1, 2)) / np.maximum((marked | ideal).sum((1, 2)), 1)
    lead = fit[thing.detail] - _best_other(fit, thing.detail)
    return ramp(fit[thing.detail], 0.30, 0.65) * ramp(lead, -0.05, 0.10) * (areas.argmax(0) == asked)


def _best_other(fit: dict[str, Floats], name: str) -> Floats:
    """Largest value under any other name."""
    return np.max([value for key, value in fit.items() if key != name], axis=0)


def _read_background(clip: Floats, nearest: np.ndarray, scene: Scene, wall: str | None) -> Floats:
    objects = nearest < len(_COLOURS)
    grown = objects.copy()
    for axis in (1, 2):
        for step in (1, -1):
            grown |= np.roll(objects, step, axis) | np.roll(objects, 2 * step, axis)
    kept = np.ones(len(clip), dtype=np.float32)
    if wall is not None:
        region, shown = wall_region(wall), nearest == _WALL
        kept = ramp((shown & region).sum((1, 2)) / np.maximum((shown | region).sum((1, 2)), 1), 0.5, 0.85)
        grown = grown | region
    each = np.stack([_fit_ground(clip, ~grown, ground) for ground in scene.grounds])
    if len(each) == 2 and len(clip) >= LONG:
        share = _around((each[0] > each[1]).astype(np.float32), 60)
        kept = kept * ramp(np.minimum(share, 1 - share), 0.0, 0.1)
    return (each.max(0) * kept).astype(np.float32)


def _fit_ground(clip: Floats, outside: np.ndarray, ground: Ground) -> Floats:
    """How well each frame shows a background where no object is, [T]."""
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
