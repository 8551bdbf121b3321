"""Loads once, runs many prompts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.devices import enough_memory
from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models
from streamt1.core.seeds import check_seed
from streamt1.families.build import build, check_prompt
from streamt1.pipeline.recorder import Recorder
from streamt1.pipeline.run import Run
from streamt1.pipeline.stream import FinalChunk, Stream
from streamt1.placement.memory_plan import MemoryPlan, planned
from streamt1.search.choose import choose
from streamt1.search.engine import step
from streamt1.search.start import start
from streamt1.search.watcher import Watcher, Watchers
from streamt1.search.width import check_budget

SECONDS = 5.0
"""Length of a video, where none is asked for."""


class Pipeline:
    """The loaded models of one configuration.

    Args:
        config: see ``load_config``. Raises what ``families.build`` raises, and ``ConfigError`` where it does not fit.
        models: those of a configuration that differs in its search alone; loads them by default.

    Attributes:
        plan: where the parts of large models are; None for small ones, and for models that are given.
    """

    def __init__(self, config: RunConfig, models: Models | None = None) -> None:
        self.plan: MemoryPlan | None = None
        if models is None:
            config, self.plan = planned(config)
        self.config = config
        if config.threads:
            torch.set_num_threads(config.threads)
        self.models = build(config, checked=self.plan is not None) if models is None else models

    def chunks_for(self, seconds: float) -> int:
        """The number of chunks that comes nearest to a length. Raises ``ConfigError`` below one chunk."""
        decoder, latents = self.models.decoder, self.models.backbone.chunk_shape[0]
        first, later = 1 + decoder.time_stride * (latents - 1), decoder.time_stride * latents
        if not math.isfinite(seconds):
            raise ConfigError(f"seconds={seconds} must be a finite number, of at least one chunk")
        self.config.limits.check_seconds(seconds, f"seconds={seconds:g}")
        if seconds * decoder.fps < first:
            raise ConfigError(
                f"seconds={seconds:g} is below one chunk; the shortest video has {first / decoder.fps:g} seconds"
                f" ({first} frames at {decoder.fps} per second)"
            )
        return max(1, round((seconds * decoder.fps - first) / later) + 1)

    def length(self, chunks: int | None, seconds: float | None) -> int:
        """Chunks of a video whose length is given in either unit; 5 seconds where it is given in none.

        Raises ``ConfigError`` where it is given in both, or below one chunk.
        """
        if chunks is not None and seconds is not None:
            raise ConfigError("give seconds or chunks, not both")
        if chunks is None:
            return self.chunks_for(SECONDS if seconds is None else seconds)
        if chunks < 1:
            raise ConfigError(f"chunks={chunks} must be at least 1")
        decoder = self.models.decoder
        self.config.limits.check_chunks(chunks, decoder.time_stride * self.models.backbone.chunk_shape[0] / decoder.fps)
        return chunks

    def check_prompt(self, prompt: str) -> None:
        """Raises ``PromptError`` for a prompt that the backbone cannot use, before any time is spent on it."""
        check_prompt(self.config, prompt)

    def stream(
        self,
        prompt: str,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        watcher: Watcher = Watcher(),
        *,
        seconds: float | None = None,
    ) -> Stream:
        """Searches for a video and gives its chunks away one after another, each as soon as it is final.

        Args:
            chunks, seconds: length, in either unit; 5 seconds by default.
            policy: replaces the configuration's, over the same loaded models.
            watcher: sees the search; it may raise ``Cancelled`` to end it.

        Raises:
            PromptError, ConfigError: at once; what is raised later, while the stream is read: see ``Engine.run``.
        """
        self.check_prompt(prompt)
        check_seed(seed)
        config = self.config.with_policy(policy) if policy is not None else self.config
        length = self.length(chunks, seconds)
        check_budget(config.effective_search.budget_passes, length, self.models.backbone.steps)
        return Stream(self._stream(prompt, length, seed, config, watcher))

    def run(
        self,
        prompt: str,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        watcher: Watcher = Watcher(),
        *,
        seconds: float | None = None,
    ) -> Run:
        """The same as ``stream``, read to its end."""
        return self.stream(prompt, chunks, seed, policy, watcher, seconds=seconds).finish()

    def _stream(
        self, prompt: str, chunks: int, seed: int, config: RunConfig, watcher: Watcher
    ) -> Iterator[FinalChunk | Run]:
        models, settings, recorder = self.models, config.effective_search, Recorder()
        watchers = Watchers((recorder, watcher))
        with enough_memory("the prompt was encoded"):
            state, final = start(models, settings, prompt, chunks, seed, watchers), 0
        try:
            while state.chunk < chunks:
                with enough_memory(f"chunk {state.chunk} was searched"):
                    state = step(models, settings, state, watchers)
                if state.chunk < chunks:  # the last ones come with the run
                    yield from _final(state.settled[final:], final)
                    final = len(state.settled)
            with enough_memory("the video was chosen"):
                result = choose(models, settings, state, watchers)
        finally:
            state.release(models)
        yield Run(prompt, seed, config, result, tuple(recorder.stamped), recorder.thumbnails)
        lengths = [len(chunk.frames) for chunk in result.beam.chunks]
        yield from _final(result.frames.split(lengths)[final:], final)


def _final(frames: Sequence[Tensor], begin: int) -> Iterator[FinalChunk]:
    return (FinalChunk(begin + place, one.clone()) for place, one in enumerate(frames))
