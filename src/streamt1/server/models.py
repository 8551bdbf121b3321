"""The loaded models of one device, one preset beside another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from streamt1.config.schema import RunConfig
from streamt1.core.errors import ConfigError
from streamt1.core.remote import here
from streamt1.media.pixels import SHOWN_SIDE, enlarge
from streamt1.pipeline.pipeline import Pipeline


@dataclass(frozen=True)
class Served:
    """What clients may know of a preset.

    Attributes:
        size: ``WIDTHxHEIGHT`` of its videos as they are delivered.
        fps: pixel frames per second.
        shortest: length of one chunk, the least that can be asked for, in seconds.
    """

    about: str
    size: str
    fps: int
    shortest: float
    beam_size: int
    top_k: int


class LoadedPresets:
    """Pipelines by preset, on one device, or on several that every video takes.

    Args:
        device: its name, for people.
        pipelines: loaded; the first is the default.

    Attributes:
        most: how many videos can be made at once: each takes a device, or more where ``SharedPresets`` has them.
    """

    most = 1

    def __init__(self, device: str, pipelines: Mapping[str, Pipeline]) -> None:
        self.device, self._pipelines = device, dict(pipelines)
        self.served = {name: _look_at(pipeline) for name, pipeline in self._pipelines.items()}

    @classmethod
    def load(cls, device: str, configs: Mapping[str, RunConfig]) -> LoadedPresets:
        """Loads every preset. Raises what ``Pipeline`` raises."""
        return cls(device, {name: Pipeline(config) for name, config in configs.items()})

    def pipeline(self, preset: str, config: RunConfig | None = None) -> Pipeline:
        """The loaded models of a preset, under a configuration that differs from its own in the search alone."""
        own = self._pipelines[preset]
        return own if config is None else Pipeline(config, own.models)

    def config(self, preset: str) -> RunConfig:
        """A preset's own configuration."""
        return self._pipelines[preset].config

    def check_devices(self, preset: str, count: int) -> None:
        """Raises ``ConfigError`` for a number of devices that a video cannot have."""
        if count != 1:
            raise ConfigError(
                f"devices={count}: every video of this server takes one device; it is started with --devices to have"
                " more for each"
            )

    def begin(self) -> None:
        """A worker waits for its turn to take a job. Where it must then wait for devices, the others wait behind it."""

    def began(self) -> None:
        """It has them."""

    def take(self, count: int | None, wanted: Callable[[], bool]) -> LoadedPresets | None:
        """The presets on so many devices, once these are free; None where the video is not wanted any more."""
        return self

    def give_back(self) -> None:
        """A video is done with them."""


def _look_at(pipeline: Pipeline) -> Served:
    """Decodes one empty chunk: how large it is is known to the decoder alone, and the first decoding is the slowest."""
    models, config = pipeline.models, pipeline.config
    latents = torch.zeros(1, *models.backbone.chunk_shape)
    with torch.no_grad():
        decoded, _ = models.decoder.decode([models.decoder.start()], latents)
    frames = here(decoded[0])
    height, width = enlarge(frames[:1], SHOWN_SIDE).shape[-2:]
    fps, length = models.decoder.fps, len(frames)
    search = config.search
    return Served(config.about, f"{width}x{height}", fps, length / fps, search.beam_size, search.top_k)
