"""Loads once, runs many prompts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from streamt1.assemble.build import build
from streamt1.assemble.config import RunConfig
from streamt1.assemble.run import Run
from streamt1.assemble.watching import Thumbnails, recall
from streamt1.core.errors import ConfigError, PromptError
from streamt1.search.engine import Engine
from streamt1.search.observer import Observer
from streamt1.search.stages import World
from streamt1.trace.events import Event
from streamt1.trace.store import Recorder


class Pipeline:
    """The loaded models of one configuration.

    Args:
        config: see ``load_config``. Raises what ``build`` raises.
        world: models that have been loaded for a configuration that differs in its search alone; loads them by default.
    """

    def __init__(self, config: RunConfig, world: World | None = None) -> None:
        self.config = config
        if config.threads:
            torch.set_num_threads(config.threads)
        self.world = build(config) if world is None else world

    def chunks_for(self, seconds: float) -> int:
        """The number of chunks that comes nearest to a length. Raises ``ConfigError`` below one chunk."""
        codec, latents = self.world.codec, self.world.backbone.chunk_shape[0]
        first, later = 1 + codec.time_stride * (latents - 1), codec.time_stride * latents
        if not math.isfinite(seconds) or seconds * codec.fps < first:
            raise ConfigError(
                f"seconds={seconds:g} is below one chunk; the shortest video has {first / codec.fps:g} seconds"
                f" ({first} frames at {codec.fps} per second)"
            )
        return max(1, round((seconds * codec.fps - first) / later) + 1)

    def check_prompt(self, prompt: str) -> None:
        """Raises ``PromptError`` for a prompt that the backbone cannot use, before any time is spent on it."""
        if not prompt.strip():
            raise PromptError("the prompt is empty: say what the video should show")
        self.world.backbone.release(self.world.backbone.start(prompt))

    def run(
        self,
        prompt: str,
        chunks: int,
        seed: int = 0,
        policy: str | None = None,
        watch: Callable[[Event], None] = lambda event: None,
        settled: Callable[[int, Tensor], None] = lambda chunk, frames: None,
        pictured: Callable[[int, bytes], None] = lambda candidate, picture: None,
    ) -> Run:
        """Searches for a video of ``chunks`` chunks.

        Args:
            policy: replaces the configuration's, over the same loaded models.
            watch: sees every event as it happens; it may raise ``Cancelled`` to end the search.
            settled: gets each chunk as soon as it is final; see ``Observer.settled``.
            pictured: gets each candidate's id and thumbnail (WebP) when it has been proposed.

        Raises:
            PromptError, ConfigError, RewardError: see ``Engine.run``.
        """
        self.check_prompt(prompt)
        config = self.config.with_policy(policy) if policy else self.config
        recorder, thumbnails, world = Recorder(), Thumbnails(pictured), self.world
        frames = world.backbone.chunk_shape[0]
        observer = Observer(thumbnails, lambda branch: recall(branch, frames), settled)

        def emit(event: Event) -> None:
            recorder(event)
            watch(event)

        result = Engine.over(world, config.effective_search, emit, observer).run(prompt, chunks, seed)
        return Run(prompt, seed, config, result, tuple(recorder.stamped), thumbnails.pictures)
