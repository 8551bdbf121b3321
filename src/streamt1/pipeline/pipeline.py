"""Loads once, runs many prompts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch

from streamt1.config.schema import RunConfig
from streamt1.core.devices import enough_memory
from streamt1.core.errors import ConfigError, Stopped
from streamt1.core.protocols import Models
from streamt1.core.seeds import check_seed
from streamt1.families.build import build, check_prompt
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.recorder import Recorder
from streamt1.pipeline.run import Run
from streamt1.pipeline.run_folder import RunFolder, run_folder
from streamt1.pipeline.stream import FinalChunk, Left, Stream
from streamt1.placement.memory_plan import MemoryPlan, planned
from streamt1.search.choose import choose
from streamt1.search.config import check_endless
from streamt1.search.engine import step
from streamt1.search.watcher import ToTheEnd, Watcher, Watchers
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

    def asked(
        self,
        prompt: str,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        *,
        seconds: float | None = None,
        endless: bool = False,
    ) -> Asked:
        """What the arguments of ``stream`` ask for. Raises ``PromptError`` and ``ConfigError``."""
        self.check_prompt(prompt)
        check_seed(seed)
        config = self.config.with_policy(policy) if policy is not None else self.config
        if endless:
            if chunks is not None or seconds is not None:
                raise ConfigError("a video without an end has no length: leave out seconds and chunks, or endless")
            asked = Asked(prompt, seed, None, config)
            check_endless(asked.search)
            return asked
        length = self.length(chunks, seconds)
        check_budget(config.effective_search.budget_passes, length, self.models.backbone.steps)
        return Asked(prompt, seed, length, config)

    def stream(
        self,
        prompt: str,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        watcher: Watcher = Watcher(),
        *,
        seconds: float | None = None,
        endless: bool = False,
        folder: str | Path | None = None,
        fresh: bool = False,
    ) -> Stream:
        """Searches for a video and gives its chunks away one after another, each as soon as it is final.

        Args:
            chunks, seconds: length, in either unit; 5 seconds by default.
            policy: replaces the configuration's, over the same loaded models.
            watcher: sees the search; it may raise ``Cancelled`` to end it, or ``Stopped``.
            endless: no length; the search goes on until the watcher raises ``Stopped``, and then ends with a video.
                What has been read is kept nowhere but in ``folder``.
            folder: the run is written there as it happens. Where an unfinished run of the same arguments is there, it
                is gone on with; see ``pipeline.run_folder``.
            fresh: begin anew, whatever is in the folder.

        Raises:
            PromptError, ConfigError: at once; what is raised later, while the stream is read: see ``Engine.run``.
            OutputError: the folder cannot be written, or holds another run; while the stream is read.
        """
        asked = self.asked(prompt, chunks, seed, policy, seconds=seconds, endless=endless)
        if folder is None:
            return Stream(self.search(asked, Recorder(), watcher))
        return Stream(self._in_folder(asked, Path(folder), fresh, watcher))

    def run(
        self,
        prompt: str,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        watcher: Watcher = Watcher(),
        *,
        seconds: float | None = None,
        endless: bool = False,
        folder: str | Path | None = None,
        fresh: bool = False,
    ) -> Run:
        """The same as ``stream``, read to its end."""
        length = {"seconds": seconds, "endless": endless}
        return self.stream(prompt, chunks, seed, policy, watcher, **length, folder=folder, fresh=fresh).finish()

    def _in_folder(self, asked: Asked, path: Path, fresh: bool, watcher: Watcher) -> Iterator[FinalChunk | Run]:
        with run_folder(path, asked, self.models.decoder.fps, fresh) as folder:
            yield from self.search(asked, folder, watcher)

    def search(self, asked: Asked, record: Recorder | RunFolder, watcher: Watcher) -> Iterator[FinalChunk | Run]:
        """Final chunks as they come, and before the last of them the run."""
        models, settings, left = self.models, asked.search, Left()
        watchers = Watchers((record, left, watcher))
        with enough_memory("the prompt was encoded"):
            state = record.begin(models, asked, Watchers((left, watcher)))
        try:
            while not state.ended:
                yield from left.chunks()
                try:
                    with enough_memory(f"chunk {state.chunk} was searched"):
                        state = step(models, settings, state, watchers)
                except Stopped:
                    if asked.chunks is not None or not state.chunk:
                        raise
                    record.drop_open()
                    left.drop()
                    break
                record.boundary(state)
            with enough_memory("the video was chosen"):
                result = choose(models, settings, state, Watchers((record, left, ToTheEnd(watcher))))
        finally:
            state.release(models)
        yield record.finish(asked, result)
        yield from left.chunks()
