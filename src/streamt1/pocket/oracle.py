"""The oracle of the pocket world: reads a clip frame by frame and says how much of its prompt is there.

Every reading lies in [0, 1]; `ramp(x, low, high)` is (x - low) / (high - low), clipped. A pixel belongs to an object
when the nearest colour of the world's palette is an object's colour; where the prompt names a dot or a bar, whatever
lies within .6 radii of the object's centre belongs to it, too; where it names a patch or a cap, what is pink. With two
objects, each is read in its own half.

A frame is *clear* when the object is seen whole: it stays 2 pixels away from the edges that it may leave by (crossing)
and from the wall (hiding). A run of frames that are not clear is *excused*, for at most 48 frames, when the object was
within 6 pixels of such an edge as it began. On excused frames presence is 1, and the other readings of the object keep
their last value from a clear frame.

- presence: visible area over the area range of the shape, ramp on both sides.
- shape: overlap (intersection over union) of the object's pixels with the asked shape of the same area and centroid,
  ramp(.60, .85), times ramp(lead over the best other shape, -.05, .03).
- colour: share of the object's pixels (without its middle, where a dot or a bar is, or what is pink) that have the
  asked colour, ramp(.4, .9).
- motion: velocity of the centroid over 3 frames, in a window of 33 frames; see `_motion`.
- background: half the mean colour outside the objects, 1 - ramp(error, .04, .15); half the pattern: the asked kind must
  fit better than the best other kind, ramp(lead over the lead of a perfect picture, 0, .6). Of two backgrounds that
  take turns, the better; in clips of 81 frames and more both must show within 60 frames: times ramp(share of the rarer,
  0, .1). A wall must cover its side: times ramp(intersection over union, .5, .85).
- memory: what the prompt leaves open must stay as it first was. Mean over those that apply: size, 1 - ramp(|log(area /
  first area)|, .12, .40); the detail, ramp(overlap of its pixels with the asked one, .30, .65) times ramp(lead over the
  other detail of its kind, -.05, .10), and 0 unless it has the form, of two, that it first had; the way of a crossing
  object, where it is seen for long enough to have one, ramp(share of its travel in the first direction, .5, .9).
  "First" is the median over the first 9 clear frames.

Shape, colour, motion and memory count as much as the object is present. `mean` is the mean of the six.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from streamt1.pocket.details import core, painted_halves, read_detail
from streamt1.pocket.grounds import fit_ground
from streamt1.pocket.palette import (
    COLOURS,
    PAINT,
    WALL_COLOUR,
    is_painted,
    nearest_colours,
    object_pixels,
    overlap,
    ramp,
)
from streamt1.pocket.paths import HIDING_RADIUS, PAIR_RADIUS, RADIUS, SIZE, WALL, Floats
from streamt1.pocket.scenes import Scene, Thing
from streamt1.pocket.vocabulary import SHAPES
from streamt1.pocket.world import (
    PAINTED,
    coverage,
    wall_region,
)

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

    `edge` says that it is cut off by the side of the frame, hidden by a wall, or not seen at all; `begins` is the frame
    at which another clip begins, if one does.
    """

    mask: np.ndarray
    area: Floats
    track: Floats
    radius: Floats
    clear: np.ndarray
    excused: np.ndarray
    edge: np.ndarray
    begins: int | None


def measure(clip: Floats, scene: Scene, cut: int | None = None) -> Reading:
    """Reads a clip [T, 3, 64, 64] in [0, 1] against the scene that its prompt names.

    `cut` is a frame at which another clip of the scene begins: nothing is said to have moved from the one before, which
    alone says what the other must keep. Where it never shows that, the other has kept nothing: its memory is 0.
    """
    nearest, each = _seen(clip, scene, cut)
    parts = [
        _read_thing(seen, nearest, thing, len(scene.things), _memory(clip, nearest, seen, thing))
        for thing, seen in zip(scene.things, each, strict=True)
    ]
    presence, shape, colour, motion, memory = np.mean(parts, axis=0).astype(np.float32)
    ground = _read_background(clip, nearest, scene)
    return Reading(presence, shape, colour, motion, ground, memory)


def locate(clip: Floats, scene: Scene) -> Floats:
    """What is to be seen in each frame of a clip [T, 3, 64, 64], good or bad: [T, len(SIGHTS)].

    Of all object pixels together: whether there are any (0 or 1); the centroid, x to the right and y down, in -1..1;
    the square root of the area, over 32; which form a detail has: the share of white less the share of black within .6
    radii of the centroid, or what of the second half is pink less what of the first is. 0 where nothing is seen. Of two
    backgrounds that take turns: how much better the first fits than the second, in -1..1; 0 where there is one.
    """
    nearest = nearest_colours(clip, scene)
    objects = object_pixels(nearest)
    area, track = _centroid(objects)
    ground = np.zeros_like(area)
    if len(scene.grounds) == 2:
        first, second = (fit_ground(clip, ~objects, one) for one in scene.grounds)
        ground = first - second
    seen = area > 20
    if is_painted(scene):
        tone = painted_halves(nearest, objects, track, scene.things[0].detail)
    else:
        middle = core(track, np.sqrt(area / 3))
        light, count = clip.mean(1), np.maximum(middle.sum((1, 2)), 1)
        white, black = (middle & (light > 0.85)).sum((1, 2)), (middle & (light < 0.15)).sum((1, 2))
        tone = (white - black.astype(np.float32)) / count
    parts = [seen, *(track.T * 2 / SIZE - 1), np.sqrt(area) / 32, tone]
    return np.stack([*(part * seen for part in parts), ground], axis=1).astype(np.float32)


def _seen(clip: Floats, scene: Scene, cut: int | None) -> tuple[np.ndarray, list[_Seen]]:
    """The nearest palette colours of a clip, and each object of the scene in it."""
    nearest = nearest_colours(clip, scene)
    objects, wall, each = object_pixels(nearest), _wall(nearest, scene), []
    for index, thing in enumerate(scene.things):
        mask = objects
        if len(scene.things) == 2:
            region = np.broadcast_to((np.arange(SIZE) < SIZE // 2) == (index == 0), (SIZE, SIZE))
            own = nearest == COLOURS.index(thing.colour)
            mask = objects & (region | own) & (nearest != COLOURS.index(scene.things[1 - index].colour))
        each.append(_look(mask, thing, wall, len(scene.things) == 1, cut))
    return nearest, each


def _wall(nearest: np.ndarray, scene: Scene) -> str | None:
    """The side on which most of the wall stands in the first frames, where the scene has one."""
    if all(thing.motion != "hiding" for thing in scene.things):
        return None
    columns = (nearest[:FIRST] == WALL_COLOUR).sum((0, 1))
    return "left" if columns[: SIZE // 2].sum() > columns[SIZE // 2 :].sum() else "right"


def _unit_area(shape: str) -> float:
    """Pixels that a shape of nominal radius 1 covers (measured at 12)."""
    return float(coverage(shape, np.array([[SIZE / 2, SIZE / 2]], dtype=np.float32), 12.0).sum()) / 144


def _centroid(mask: np.ndarray) -> tuple[Floats, Floats]:
    """Area [T] and centroid [T, 2] of a mask."""
    area = mask.sum((1, 2)).astype(np.float32)
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    track = np.stack([(mask.sum(axis) * grid).sum(1) / np.maximum(area, 1) for axis in (1, 2)], axis=1)
    return area, track.astype(np.float32)


def _look(mask: np.ndarray, thing: Thing, wall: str | None, alone: bool, begins: int | None) -> _Seen:
    area, track = _centroid(mask)
    unit = _unit_area(thing.shape)
    radius = np.sqrt(np.maximum(area, 1) / unit).astype(np.float32)
    if thing.detail and thing.detail not in PAINTED:
        for _ in range(2):
            filled = mask | (core(track, radius) & (area > 20)[:, None, None])
            area, track = _centroid(filled)
            radius = np.sqrt(np.maximum(area, 1) / unit).astype(np.float32)
        mask = filled
    seen = area > 20
    cut, close = (seen & alone & mask[:, :, _edge_columns(wall, pixels)].any((1, 2)) for pixels in (2, NEAR))
    if thing.motion not in ("crossing", "hiding"):
        return _Seen(mask, area, track, radius, seen, np.zeros_like(seen), cut | ~seen, begins)
    clear = seen & ~cut
    return _Seen(mask, area, track, radius, clear, _excused(clear, close), cut | ~seen, begins)


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


def _read_thing(seen: _Seen, nearest: np.ndarray, thing: Thing, count: int, memory: Floats) -> list[Floats]:
    safe = np.maximum(seen.area, 1)
    low, high = (PAIR_RADIUS, PAIR_RADIUS) if count == 2 else (HIDING_RADIUS[0], RADIUS[1])
    unit = _unit_area(thing.shape)
    full = ramp(seen.area / (unit * low**2), 0.2, 0.8) * (1 - ramp(seen.area / (unit * high**2), 1.25, 2.5))
    fit = np.stack([_overlap(seen, shape) for shape in SHAPES])
    asked = SHAPES.index(thing.shape)
    lead = fit[asked] - np.delete(fit, asked, axis=0).max(0)
    shape = ramp(fit[asked], 0.60, 0.85) * ramp(lead, -0.05, 0.03)
    coloured, size = seen.mask & (nearest == COLOURS.index(thing.colour)), safe
    if thing.detail:
        inner = nearest == PAINT if thing.detail in PAINTED else core(seen.track, seen.radius)
        outer = seen.mask & ~inner
        coloured, size = coloured & outer, np.maximum(outer.sum((1, 2)), 1)
    colour = ramp(coloured.sum((1, 2)) / size, 0.4, 0.9)
    motion = _motion(seen, thing.motion, 1.0 if count == 1 else 0.5, (nearest == WALL_COLOUR).mean((1, 2)))
    presence = np.where(seen.clear, full, np.where(seen.excused, 1.0, 0.0)).astype(np.float32)
    weight = np.where(seen.excused, 1.0, presence)
    held = [_held(x, seen.clear) * weight for x in (shape, colour, motion, memory)]
    return [presence, *held]


def _overlap(seen: _Seen, shape: str) -> Floats:
    """Intersection over union of each frame's object with a shape of its area, at its centroid, [T]."""
    radius = np.sqrt(np.maximum(seen.area, 1) / _unit_area(shape))
    ideal = coverage(shape, seen.track, radius) > 0.5
    return overlap(seen.mask, ideal).astype(np.float32)


def _velocity(seen: _Seen) -> tuple[Floats, np.ndarray]:
    """Velocity of the centroid over 3 frames, [T, 2] in pixels a frame, and where it is known, [T]."""
    frames = len(seen.track)
    velocity, known = np.zeros_like(seen.track), np.zeros(frames, dtype=bool)
    if frames > 3:
        velocity[1:-2] = (seen.track[3:] - seen.track[:-3]) / 3
        known[1:-2] = seen.clear[3:] & seen.clear[:-3]
        if seen.begins is not None:
            known[max(0, seen.begins - 2) : seen.begins + 1] = False
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


def _memory(clip: Floats, nearest: np.ndarray, seen: _Seen, thing: Thing) -> Floats:
    first = _before(np.flatnonzero(seen.clear), seen.begins)[:FIRST]
    if not len(first):
        return np.zeros_like(seen.area)
    size = np.log(np.maximum(seen.area, 1) / max(1.0, float(np.median(seen.area[first]))))
    parts = [1 - ramp(np.abs(size), 0.12, 0.40)]
    if thing.detail:
        fit, forms = read_detail(clip, nearest, seen.mask, seen.track, seen.radius, thing)
        parts.append(fit * (forms.argmax(0) == np.median(forms[:, first], axis=1).argmax()))
    speed = _velocity(seen)[0][:, 0]
    moving = _before(np.flatnonzero(speed), seen.begins)[:FIRST]
    if thing.motion == "crossing" and len(moving):
        way = np.sign(speed[moving].sum())
        share = _around(np.maximum(speed * way, 0)) / np.maximum(_around(np.abs(speed)), 1e-6)
        parts.append(_held(ramp(share, 0.5, 0.9), _around(np.abs(speed)) > 1e-3))
    return np.mean(parts, axis=0)


def _before(frames: np.ndarray, begins: int | None) -> np.ndarray:
    """Of the indices of some frames, those of the clip that comes first."""
    return frames if begins is None else frames[frames < begins]


def details(clip: Floats, scene: Scene) -> tuple[Floats, np.ndarray, np.ndarray]:
    """How clear the first object's detail is in each frame, [T] in [0, 1], which of its two forms it has, [T] 0 or 1,
    and where the object is seen whole, [T].

    Raises ValueError for a scene without a detail.
    """
    thing = scene.things[0]
    if not thing.detail:
        raise ValueError(f"'{scene.prompt}' names no detail")
    nearest, (seen, *_) = _seen(clip, scene, None)
    fit, forms = read_detail(clip, nearest, seen.mask, seen.track, seen.radius, thing)
    return fit.astype(np.float32), forms.argmax(0), seen.clear


def _read_background(clip: Floats, nearest: np.ndarray, scene: Scene) -> Floats:
    wall = _wall(nearest, scene)
    objects = object_pixels(nearest)
    grown = objects.copy()
    for axis in (1, 2):
        for step in (1, -1):
            grown |= np.roll(objects, step, axis) | np.roll(objects, 2 * step, axis)
    kept = np.ones(len(clip), dtype=np.float32)
    if wall is not None:
        region, shown = wall_region(wall), nearest == WALL_COLOUR
        kept = ramp(overlap(shown, region), 0.5, 0.85)
        grown = grown | region
    each = np.stack([fit_ground(clip, ~grown, ground) for ground in scene.grounds])
    if len(each) == 2 and len(clip) >= LONG:
        share = _around((each[0] > each[1]).astype(np.float32), 60)
        kept = kept * ramp(np.minimum(share, 1 - share), 0.0, 0.1)
    return (each.max(0) * kept).astype(np.float32)
