"""What a prompt of the procedural world says: its objects, motions and backgrounds, and how prompts are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamt1.core.errors import PromptError
from streamt1.pocket.vocabulary import (
    BACKGROUND_COLOURS,
    BACKGROUND_KINDS,
    COLOURS,
    DETAILS,
    GRAMMAR,
    MOTIONS,
    SHAPES,
    WORDS,
    tokenize,
)

HELD_OUT = frozenset(
    (colour, shape, MOTIONS[(i + 2 * j) % len(MOTIONS)])
    for i, colour in enumerate(COLOURS)
    for j, shape in enumerate(SHAPES)
)
"""One motion of each colour and shape that no training stage ever sees; prompts for measuring have no others."""
PAIRED_MOTIONS = MOTIONS[:5]
"""Motions that fit into half a frame; two objects have no others."""


@dataclass(frozen=True)
class Thing:
    """One object of a scene, as its prompt names it; `detail` is "" for none."""

    colour: str
    shape: str
    motion: str
    detail: str = ""


@dataclass(frozen=True)
class Ground:
    """A background, which follows from its two words alone."""

    colour: str
    kind: str


@dataclass(frozen=True)
class Scene:
    """What a prompt says: one or two objects, and one background or two that take turns."""

    things: tuple[Thing, ...]
    grounds: tuple[Ground, ...]

    @property
    def prompt(self) -> str:
        """The scene as a sentence of the grammar."""
        named = " and ".join(_named(thing) for thing in self.things)
        return f"{named} on a {' then '.join(f'{g.colour} {g.kind}' for g in self.grounds)} background"


def _named(thing: Thing) -> str:
    article = "an" if thing.colour[0] in "aeiou" else "a"
    detail = f" with a {thing.detail}" if thing.detail else ""
    return f"{article} {thing.colour} {thing.shape}{detail} {thing.motion}"


def parse(prompt: str) -> Scene:
    """The scene of a prompt; raises PromptError when the words do not form a sentence of the grammar."""
    words = [WORDS[token - 1] for token in tokenize(prompt)]
    try:
        scene = _parse_words(words)
    except (IndexError, ValueError):
        raise PromptError(f"'{prompt}' is not a sentence of the pocket world; it reads: {GRAMMAR}") from None
    return scene


def _parse_words(words: list[str]) -> Scene:
    """Raises IndexError or ValueError where the sentence is not one."""
    rest = list(words)

    def take(*allowed: str) -> str:
        word = rest.pop(0)
        if word not in allowed:
            raise ValueError(word)
        return word

    things: list[Thing] = []
    while True:
        take("a")
        colour, shape, detail = take(*COLOURS), take(*SHAPES), ""
        if rest[0] == "with":
            take("with")
            take("a")
            detail = take(*DETAILS)
        things.append(Thing(colour, shape, take(*MOTIONS), detail))
        if take("and", "on") == "on":
            break
    take("a")
    grounds = [Ground(take(*BACKGROUND_COLOURS), take(*BACKGROUND_KINDS))]
    if take("then", "background") == "then":
        grounds.append(Ground(take(*BACKGROUND_COLOURS), take(*BACKGROUND_KINDS)))
        take("background")
    paired = len(things) == 2 and all(not t.detail and t.motion in PAIRED_MOTIONS for t in things)
    if rest or not (len(things) == 1 or paired) or len(set(grounds)) < len(grounds):
        raise ValueError(" ".join(words))
    return Scene(tuple(things), tuple(grounds))


def is_held_out(thing: Thing) -> bool:
    """Whether training never sees an object of that colour, shape and motion together."""
    return (thing.colour, thing.shape, thing.motion) in HELD_OUT


def sample_scene(rng: np.random.Generator, two: float = 0.08) -> Scene:
    """A random scene of training; with probability `two` it has two objects, of different colours.

    Three of five single objects carry a detail, a fifth have two backgrounds. No object is a held-out combination.
    """

    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    def draw(motions: tuple[str, ...]) -> Thing:
        while True:
            thing = Thing(pick(COLOURS), pick(SHAPES), pick(motions))
            if not is_held_out(thing):
                return thing

    ground = Ground(pick(BACKGROUND_COLOURS), pick(BACKGROUND_KINDS))
    if rng.random() < two:
        first = second = draw(PAIRED_MOTIONS)
        while second.colour == first.colour:
            second = draw(PAIRED_MOTIONS)
        return Scene((first, second), (ground,))
    thing = draw(MOTIONS)
    if rng.random() < 0.6:
        thing = replace(thing, detail=pick(DETAILS))
    return Scene((thing,), (ground, other_ground(rng, ground)) if rng.random() < 0.2 else (ground,))


def other_ground(rng: np.random.Generator, first: Ground) -> Ground:
    """A background that differs from the first in both words."""
    colours = [colour for colour in BACKGROUND_COLOURS if colour != first.colour]
    kinds = [kind for kind in BACKGROUND_KINDS if kind != first.kind]
    return Ground(colours[int(rng.integers(len(colours)))], kinds[int(rng.integers(len(kinds)))])


def evaluation_scenes(count: int, seed: int = 2026) -> list[Scene]:
    """Scenes for measuring, each with one object of a held-out combination.

    Motions, backgrounds and details take turns, so that each is measured about equally often; every fifth scene has two
    backgrounds.
    """
    rng = np.random.default_rng(seed)
    by_motion = [sorted(triple for triple in HELD_OUT if triple[2] == motion) for motion in MOTIONS]
    scenes: list[Scene] = []
    for index in range(count):
        turn, motion = divmod(index, len(MOTIONS))
        thing = Thing(
            *by_motion[motion][turn % len(by_motion[motion])], detail=("", "dot", "bar", "")[(index + turn) % 4]
        )
        ground = Ground(BACKGROUND_COLOURS[index % 6], BACKGROUND_KINDS[(index + index // 6) % 4])
        scenes.append(Scene((thing,), (ground, other_ground(rng, ground)) if index % 5 == 2 else (ground,)))
    return scenes
