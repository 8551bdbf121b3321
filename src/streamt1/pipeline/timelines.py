"""Which chunks the scenes of a timeline are: what was told in seconds or frames snaps to chunk boundaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from streamt1.config.timelines import ToldScene
from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models
from streamt1.core.timeline import Scene, Timeline
from streamt1.core.words import nth

SECONDS = 5.0
"""Of a scene, where nothing is said."""


@dataclass(frozen=True)
class Clock:
    """When chunks begin and end.

    Attributes:
        latents: latent frames of a chunk.
        first, later: pixel frames of the video's first chunk, and of each after it.
        fps: pixel frames per second.
    """

    latents: int
    first: int
    later: int
    fps: int

    @classmethod
    def of(cls, models: Models) -> Clock:
        """Of loaded models."""
        stride, latents = models.decoder.time_stride, models.backbone.chunk_shape[0]
        return cls(latents, 1 + stride * (latents - 1), stride * latents, models.decoder.fps)

    def after(self, given: int) -> Clock:
        """Of what is made after so many chunks that were given: there is no shorter chunk among those."""
        return dataclasses.replace(self, first=self.later) if given else self

    def frames(self, latents: int) -> int:
        """Pixel frames of the video's first so many latent frames, at least 1."""
        return 1 + self.later // self.latents * (latents - 1)

    def seconds(self, chunks: int) -> float:
        """Length of the first so many chunks."""
        return (self.first + self.later * (chunks - 1)) / self.fps if chunks else 0.0

    def nearest(self, seconds: float) -> int:
        """The number of chunks that comes nearest to a length; it may be 0."""
        return max(0, round((seconds * self.fps - self.first) / self.later) + 1)


def resolved(told: Sequence[ToldScene], clock: Clock, chunks: int | None, endless: bool = False) -> Timeline:
    """The timeline in chunks.

    Scenes without a length share what is left of the video, or take 5 seconds each where its length is not given.

    Args:
        chunks: of the whole video, where that was asked for.
        endless: the last scene goes on.

    Raises:
        ConfigError: scenes that are shorter than a chunk, or a whole that they do not make up; it names the scene.
    """
    if any(scene.latent is not None for scene in told):
        told, lengths = _by_beginnings(told, clock, chunks)
    else:
        lengths = _by_lengths(told, clock, chunks)
    if endless:
        lengths[-1] = None
    timeline = Timeline(tuple(Scene(one.prompt, length, one.memory) for one, length in zip(told, lengths)))
    if chunks is not None and timeline.chunks != chunks:
        long, wanted = (f"{number} chunks ({clock.seconds(number):g} s)" for number in (timeline.chunks or 0, chunks))
        raise ConfigError(
            f"the scenes make up {long}, and {wanted} were asked for: leave the length of the video out, or that of a"
            " scene"
        )
    return timeline


def _by_lengths(told: Sequence[ToldScene], clock: Clock, chunks: int | None) -> list[int | None]:
    """Ends are rounded, not lengths: what one scene loses, the next gets. Scenes that share what is left get one chunk
    at least, as long as there are any."""
    silent = sum(scene.seconds is None and scene.chunks is None for scene in told)
    known = sum(clock.later / clock.fps * scene.chunks if scene.chunks else scene.seconds or 0.0 for scene in told)
    share = SECONDS if chunks is None else (clock.seconds(chunks) - known) / max(silent, 1)
    if silent and share <= 0:
        raise ConfigError(
            f"the scenes that have a length take {known:g} s, and the video is to have {clock.seconds(chunks or 0):g}:"
            " nothing is left for the others"
        )
    lengths, time, begin = list[int | None](), 0.0, 0
    for number, scene in enumerate(told, 1):
        if scene.chunks is not None:
            end = begin + scene.chunks
            time = clock.seconds(end)
        else:
            time += share if scene.seconds is None else scene.seconds
            end = clock.nearest(time)
            if scene.seconds is None and chunks is not None:
                end = max(begin + 1, min(end, chunks - (len(told) - number)))
        last_of_all = number == len(told) and chunks is not None and scene.seconds is None and scene.chunks is None
        if last_of_all:
            end = chunks or 0
        if end <= begin:
            each = clock.later / clock.fps
            raise ConfigError(f"scene {number} is too short: it gets no chunk, and a chunk has {each:g} seconds")
        lengths.append(end - begin)
        begin = end
    return lengths


def _by_beginnings(
    told: Sequence[ToldScene], clock: Clock, chunks: int | None
) -> tuple[Sequence[ToldScene], list[int | None]]:
    """LongLive's way: a scene begins with the first chunk whose first frame is at or behind its index, one a chunk.

    A prompt that is replaced before the first chunk is not used. The last scene is as long as the one before it where
    the length of the video is not given, and 5 seconds where it is the only one.
    """
    starts = [0]
    for scene in told[1:]:
        wanted = -(-(scene.latent or 0) // clock.latents)
        starts.append(max(wanted, starts[-1] + 1 if len(starts) > 1 else 0))
    if len(starts) > 1 and starts[1] == 0:
        told, starts = told[1:], starts[1:]
    last = starts[-1] - starts[-2] if len(starts) > 1 else max(1, clock.nearest(SECONDS))
    end = starts[-1] + last if chunks is None else chunks
    if starts[-1] >= end:
        late = next(number for number, start in enumerate(starts, 1) if start >= end)
        raise ConfigError(
            f"scene {late} begins at chunk {nth(starts[late - 1])}, where the video of {end} chunks has ended"
        )
    return told, [after - start for start, after in zip(starts, [*starts[1:], end])]
