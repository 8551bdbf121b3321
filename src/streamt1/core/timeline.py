"""A timeline: a video's scenes, each with its own prompt and length. A plain prompt is a timeline of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal, get_args

from streamt1.core.errors import SHOWN, ConfigError
from streamt1.core.validation import check_whole

Switch = Literal["keep", "recache", "cut", "shot"]
"""What a new prompt does to a model's memory, see ``memory.switch``."""


@dataclass(frozen=True)
class Scene:
    """Chunks under one prompt.

    Attributes:
        chunks: its length, at least 1; None for one that goes on until it is told otherwise.
        memory: what its beginning does to the memory; None as the model's configuration says.

    Raises:
        ConfigError: a memory that is none of these.
    """

    prompt: str
    chunks: int | None
    memory: Switch | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory not in get_args(Switch):
            raise ConfigError(f"memory={str(self.memory)[:SHOWN]!r} is none of {', '.join(get_args(Switch))}")


@dataclass(frozen=True)
class Timeline:
    """Scenes, first to last; only the last may have no length.

    Raises:
        ConfigError: there are none, or a scene has no length that can be; it names the scene, from 1.
    """

    scenes: tuple[Scene, ...]

    def __post_init__(self) -> None:
        if not self.scenes:
            raise ConfigError("a timeline needs at least one scene")
        for number, scene in enumerate(self.scenes, 1):
            if scene.chunks is None and number < len(self.scenes):
                raise ConfigError(f"scene {number} has no length, and others follow it")
            if scene.chunks is not None:
                check_whole(f"scene {number}: chunks", scene.chunks)
            if scene.chunks is not None and scene.chunks < 1:
                raise ConfigError(f"scene {number} has {scene.chunks} chunks: it needs at least 1")

    @classmethod
    def plain(cls, prompt: str, chunks: int | None) -> Timeline:
        """One scene."""
        return cls((Scene(prompt, chunks),))

    @property
    def chunks(self) -> int | None:
        """Of the whole video; None without an end."""
        if self.scenes[-1].chunks is None:
            return None
        return sum(scene.chunks or 0 for scene in self.scenes)

    @property
    def starts(self) -> list[int]:
        """The first chunk of each scene."""
        return list(accumulate((scene.chunks or 0 for scene in self.scenes[:-1]), initial=0))

    def place(self, chunk: int) -> int:
        """Which scene a chunk belongs to, counted from 0; chunks beyond the end belong to the last."""
        return max(place for place, start in enumerate(self.starts) if start <= chunk)

    def lengthened(self, chunks: int) -> Timeline:
        """The timeline whose first scene begins with so many chunks more."""
        first, *later = self.scenes
        longer = None if first.chunks is None else first.chunks + chunks
        return Timeline((replace(first, chunks=longer), *later))

    def merged(self, switch: Switch) -> Timeline:
        """The same video with as few scenes: a prompt that stays is no new scene, where memory is kept.

        Args:
            switch: what the model's configuration does.
        """
        found = [self.scenes[0]]
        for scene in self.scenes[1:]:
            last = found[-1]
            if scene.prompt == last.prompt and (scene.memory or switch) == "keep":
                longer = None if scene.chunks is None or last.chunks is None else last.chunks + scene.chunks
                found[-1] = replace(last, chunks=longer)
            else:
                found.append(scene)
        return Timeline(tuple(found))

    def ended(self, chunk: int) -> Timeline:
        """Of a video without an end that ended before a chunk: the scenes that had begun, the last without a length."""
        *before, last = self.scenes[: self.place(max(chunk - 1, 0)) + 1]
        return Timeline((*before, replace(last, chunks=None)))

    def then(self, scene: Scene, chunk: int) -> Timeline:
        """The timeline until a chunk, and from there on another scene. A scene that would have no chunk is left out."""
        place = self.place(chunk)
        until = chunk - self.starts[place]
        before: Sequence[Scene] = self.scenes[:place]
        if until:
            before = (*before, replace(self.scenes[place], chunks=until))
        return Timeline((*before, scene))
