"""Stories: clips of several scenes, as training sees them. Scenes change at chunk boundaries, and some come back.

A scene that returns is the same take: size, detail, way and wall are what they were, which nothing but memory can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamt1.pocket.paths import CHUNK, OPENING, Floats, Take, sample_take
from streamt1.pocket.scenes import (
    HELD_OUT,
    PAIRED_MOTIONS,
    Ground,
    Scene,
    Thing,
    is_held_out,
    other_ground,
    sample_scene,
)
from streamt1.pocket.vocabulary import BACKGROUND_COLOURS, BACKGROUND_KINDS, DETAILS, MOTIONS
from streamt1.pocket.world import render

CHUNKS = 7
"""Chunks of a story, 81 frames."""
KINDS = {"A": 0.2, "AB": 0.15, "ABC": 0.12, "changed": 0.18, "ABA": 0.17, "ABCB": 0.18}
"""How often each kind is drawn. In "changed" the same object changes its motion or its background."""
LATEST = 60
"""Frames into its take at which a later scene may begin."""


@dataclass(frozen=True)
class Shot:
    """One stretch of a story: a scene and its take, `chunks` from `begin` on; it starts at frame `time` of the take."""

    scene: Scene
    take: Take
    begin: int
    chunks: int
    time: int = 0


@dataclass(frozen=True)
class Story:
    """Shots one after another."""

    shots: tuple[Shot, ...]

    @property
    def prompts(self) -> list[str]:
        """The prompt of each chunk."""
        return [shot.scene.prompt for shot in self.shots for _ in range(shot.chunks)]

    @property
    def starts(self) -> list[int]:
        """Where every scene but the first is shown for the first time, in chunks."""
        first: dict[Scene, int] = {}
        for shot in self.shots:
            first.setdefault(shot.scene, shot.begin)
        return list(first.values())[1:]


def first_frame(chunk: int) -> int:
    """The pixel frame at which a chunk begins."""
    return 0 if chunk == 0 else OPENING + CHUNK * (chunk - 1)


def render_story(story: Story, bare: bool = False) -> Floats:
    """The clip of a story, [T, 3, 64, 64] in [0, 1]; `bare` leaves the objects and walls out."""
    parts = []
    for shot in story.shots:
        frames = first_frame(shot.begin + shot.chunks) - first_frame(shot.begin)
        scene, take = shot.scene, shot.take
        if bare:
            scene, take = replace(scene, things=()), replace(take, paths=())
        parts.append(render(scene, take, frames, shot.time))
    return np.concatenate(parts)


def sample_story(rng: np.random.Generator, chunks: int = CHUNKS) -> Story:
    """A random story of training, of at least six chunks; no object is a held-out combination."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "A":
        scene = sample_scene(rng)
        return Story((Shot(scene, sample_take(rng, scene), 0, chunks),))
    if kind == "changed":
        return _changed(rng, chunks)
    lengths = _lengths(rng, kind, chunks)
    returning = {letter for letter in kind if kind.count(letter) > 1}
    cast = {letter: _scene(rng, letter in returning) for letter in dict.fromkeys(kind)}
    takes = {letter: sample_take(rng, scene, opening=letter == "A") for letter, scene in cast.items()}
    shots, begin = [], 0
    for letter, length in zip(kind, lengths, strict=True):
        time = _late(rng, cast[letter]) if begin else 0
        shots.append(Shot(cast[letter], takes[letter], begin, length, time))
        begin += length
    return Story(tuple(shots))


def _scene(rng: np.random.Generator, single: bool) -> Scene:
    """A scene; with one background where it has to come back, since changes fall on chunk boundaries."""
    scene = sample_scene(rng)
    return replace(scene, grounds=scene.grounds[:1]) if single else scene


def _late(rng: np.random.Generator, scene: Scene) -> int:
    """When a scene begins in its take: objects that leave the frame start in sight."""
    leaves = any(thing.motion not in PAIRED_MOTIONS for thing in scene.things)
    return 0 if leaves or len(scene.grounds) > 1 else int(rng.integers(LATEST))


def _lengths(rng: np.random.Generator, kind: str, chunks: int) -> list[int]:
    """Chunks of each shot; what returns has left the window by then."""
    if kind == "AB":
        first = int(rng.integers(1, chunks))
        return [first, chunks - first]
    if kind == "ABC":
        first, second = sorted(int(i) for i in rng.choice(np.arange(1, chunks), 2, replace=False))
        return [first, second - first, chunks - second]
    if kind == "ABA":
        first = int(rng.integers(1, 3))
        between = int(rng.integers(2, chunks - first))
        return [first, between, chunks - first - between]
    second = int(rng.integers(1, chunks - 4 + 1))
    between = int(rng.integers(2, chunks - 1 - second)) if chunks - 1 - second > 2 else 2
    return [1, second, between, chunks - 1 - second - between]


def _changed(rng: np.random.Generator, chunks: int) -> Story:
    """One object that keeps its size and its detail while its motion or its background changes, once or twice."""
    lengths = _lengths(rng, "AB" if rng.random() < 0.6 else "ABC", chunks)
    while True:
        scene = sample_scene(rng, two=0.0)
        if scene.things[0].motion != "hiding":
            break
    scene = replace(scene, grounds=scene.grounds[:1])
    take = sample_take(rng, scene)
    shots, begin = [Shot(scene, take, 0, lengths[0])], lengths[0]
    for length in lengths[1:]:
        before = scene
        while scene in [shot.scene for shot in shots]:
            scene = _other_motion(rng, before) if rng.random() < 0.5 else _other_place(rng, before)
        take = sample_take(rng, scene, like=take)
        shots.append(Shot(scene, take, begin, length, _late(rng, scene)))
        begin += length
    return Story(tuple(shots))


def _other_motion(rng: np.random.Generator, scene: Scene) -> Scene:
    thing = scene.things[0]
    free = [replace(thing, motion=motion) for motion in MOTIONS if motion not in (thing.motion, "hiding")]
    free = [one for one in free if not is_held_out(one)]
    return replace(scene, things=(free[int(rng.integers(len(free)))],))


def _other_place(rng: np.random.Generator, scene: Scene) -> Scene:
    return replace(scene, grounds=(other_ground(rng, scene.grounds[0]),))


def evaluation_casts(count: int, scenes: int, seed: int = 2027) -> list[tuple[Scene, ...]]:
    """Scenes for measuring stories: `scenes` of them each, whose objects are held-out combinations with a detail.

    Details, motions, and backgrounds take turns; neighbours differ in shape, colour and background.
    """
    rng = np.random.default_rng(seed)
    by_motion = [sorted(triple for triple in HELD_OUT if triple[2] == motion) for motion in MOTIONS]
    casts: list[tuple[Scene, ...]] = []
    for index in range(count):
        cast: list[Scene] = []
        while len(cast) < scenes:
            number = index * scenes + len(cast)
            group = by_motion[number % len(MOTIONS)]
            colour, shape, motion = group[int(rng.integers(len(group)))]
            thing = Thing(colour, shape, motion, DETAILS[(len(cast) + index) % len(DETAILS)])
            scene = Scene((thing,), (Ground(str(rng.choice(BACKGROUND_COLOURS)), str(rng.choice(BACKGROUND_KINDS))),))
            if not cast or not _alike(scene, cast[-1]):
                cast.append(scene)
        casts.append(tuple(cast))
    return casts


def _alike(one: Scene, other: Scene) -> bool:
    (a, b), (c, d) = (one.things[0], one.grounds[0]), (other.things[0], other.grounds[0])
    return a.colour == c.colour or a.shape == c.shape or b.colour == d.colour or b.kind == d.kind
