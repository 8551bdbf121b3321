"""Loads once, runs many prompts."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from streamt1.config.schema import RunConfig
from streamt1.config.timelines import told_scenes
from streamt1.core.devices import enough_memory
from streamt1.core.errors import ConfigError, PromptError, Stopped
from streamt1.core.protocols import Models
from streamt1.core.seeds import check_seed
from streamt1.core.timeline import Scene, Timeline
from streamt1.core.validation import check_whole
from streamt1.core.words import nth
from streamt1.families.build import build, check_prompt
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.given import Given, check_beginning, clip, picture
from streamt1.pipeline.recorder import Recorder
from streamt1.pipeline.run import Run
from streamt1.pipeline.run_folder import RunFolder, run_folder
from streamt1.pipeline.session import Live, Session
from streamt1.pipeline.stream import FinalChunk, Left, Stream
from streamt1.pipeline.timelines import SECONDS, Clock, resolved
from streamt1.placement.memory_plan import MemoryPlan, planned
from streamt1.search.choose import choose
from streamt1.search.config import check_endless, check_preview
from streamt1.search.engine import step
from streamt1.search.state import SearchState
from streamt1.search.switch import check_scenes
from streamt1.search.watcher import ToTheEnd, Watcher, Watchers
from streamt1.search.width import check_budget

log = logging.getLogger("streamt1")
Prompt = str | Sequence[Any] | Timeline
"""One prompt, or scenes; see ``Pipeline.stream``."""
NextScene = Callable[[], Scene | None]


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

    def chunks_for(self, seconds: float, given: int = 0) -> int:
        """The number of chunks that comes nearest to a length. Raises ``ConfigError`` below one chunk.

        ``given``: chunks that come before those that are made.
        """
        clock, fps = self.clock, self.clock.fps
        if isinstance(seconds, bool) or not math.isfinite(seconds):
            raise ConfigError(f"seconds={seconds} must be a finite number, of at least one chunk")
        self.config.limits.check_seconds(seconds, f"seconds={seconds:g}")
        if seconds * fps < clock.first:
            raise ConfigError(
                f"seconds={seconds:g} is below one chunk; the shortest video has {clock.first / fps:g} seconds"
                f" ({clock.first} frames at {fps} per second)"
            )
        return max(1, clock.after(given).nearest(seconds))

    def length(self, chunks: int | None, seconds: float | None, given: int = 0) -> int:
        """Chunks of a video whose length is told in either unit; 5 seconds where it is told in none.

        Raises ``ConfigError`` where it is given in both, or below one chunk.
        """
        if chunks is not None and seconds is not None:
            raise ConfigError("give seconds or chunks, not both")
        if chunks is None:
            return self.chunks_for(SECONDS if seconds is None else seconds, given)
        check_whole("chunks", chunks)
        if chunks < 1:
            raise ConfigError(f"chunks={chunks} must be at least 1")
        self.config.limits.check_chunks(chunks, self.clock.later / self.clock.fps)
        return chunks

    def check_prompt(self, prompt: str) -> None:
        """Raises ``PromptError`` for a prompt that the backbone cannot use, before any time is spent on it."""
        check_prompt(self.config, prompt)

    def asked(
        self,
        prompt: Prompt,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        *,
        seconds: float | None = None,
        endless: bool = False,
        given: Given | None = None,
    ) -> Asked:
        """What the arguments of ``stream`` ask for. Raises ``PromptError`` and ``ConfigError``.

        Args:
            given: see ``Pipeline.given``. Its chunks come before those of a prompt or of scenes, and are the first of a
                ``Timeline``.
        """
        check_seed(seed)
        config = self.config.with_policy(policy) if policy is not None else self.config
        if endless and (chunks is not None or seconds is not None):
            raise ConfigError("a video without an end has no length: leave out seconds and chunks, or endless")
        before = 0 if given is None else len(given.latents) // self.clock.latents
        timeline = self.timeline(prompt, chunks, seconds, endless, before).merged(config.memory.switch)
        first, whole = timeline.scenes[0].prompt, timeline.chunks
        asked = Asked(first, seed, whole, config, timeline if len(timeline.scenes) > 1 else None, given)
        check_preview(asked.search)
        check_scenes(self.models, timeline)
        config.limits.check_widths(asked.search, [scene.chunks or 1 for scene in timeline.scenes])
        if whole is None:
            check_endless(asked.search)
        else:
            check_budget(config.effective_search.budget_passes, self.models, timeline, before)
        return asked

    def given(self, image: str | Path | None = None, video: str | Path | None = None) -> Given | None:
        """What a video begins with: a picture, or the end of a clip that it goes on from. None for neither.

        Raises ``ConfigError``: both, a file that cannot be read, or models that begin videos with text alone.
        """
        check_beginning(image, video)
        if image is None and video is None:
            return None
        found = clip(self.models, Path(video)) if video is not None else picture(self.models, Path(image or ""))
        for told in found.told:
            log.info("%s", told)
        return found

    def timeline(
        self,
        prompt: Prompt,
        chunks: int | None = None,
        seconds: float | None = None,
        endless: bool = False,
        given: int = 0,
    ) -> Timeline:
        """Scenes in chunks: what is told in seconds snaps to the next chunk boundary. Raises as ``asked`` does.

        ``given``: chunks that come before those that are made.
        """
        if isinstance(prompt, Timeline):
            if chunks is not None or seconds is not None:
                raise ConfigError("a timeline has its own length: leave out seconds and chunks")
            return self._checked(prompt, given)
        if isinstance(prompt, str):
            self.check_prompt(prompt)
            return Timeline.plain(prompt, None if endless else self.length(chunks, seconds, given)).lengthened(given)
        told = told_scenes(prompt)
        whole = None if chunks is None and seconds is None else self.length(chunks, seconds, given)
        return self._checked(resolved(told, self.clock.after(given), whole, endless)).lengthened(given)

    def _checked(self, timeline: Timeline, given: int = 0) -> Timeline:
        for number, scene in enumerate(timeline.scenes, 1):
            try:
                self.check_prompt(scene.prompt)
            except PromptError as error:
                raise PromptError(f"scene {number}: {error}") from error
        if timeline.chunks is not None:
            self.length(timeline.chunks - given, None)
        return timeline

    @property
    def clock(self) -> Clock:
        """When chunks begin and end."""
        return Clock.of(self.models)

    def stream(
        self,
        prompt: Prompt,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        watcher: Watcher = Watcher(),
        *,
        seconds: float | None = None,
        endless: bool = False,
        image: str | Path | None = None,
        video: str | Path | None = None,
        folder: str | Path | None = None,
        fresh: bool = False,
    ) -> Stream:
        """Searches for a video and gives its chunks away one after another, each as soon as it is final.

        Args:
            prompt: or scenes: pairs ``(prompt, seconds)``, mappings with ``prompt``, ``seconds`` or ``chunks`` and
                ``memory``, or a ``Timeline``.
            chunks, seconds: length, in either unit; 5 seconds by default. With scenes, of those whose length is not
                given.
            policy: replaces the configuration's, over the same loaded models.
            watcher: sees the search; it may raise ``Cancelled`` to end it, or ``Stopped``.
            endless: no length; the search goes on until the watcher raises ``Stopped``, and then ends with a video.
                What has been read is kept nowhere but in ``folder``.
            image: a picture that the video begins with.
            video: a clip that it goes on from: it begins with the clip's end. ``chunks`` and ``seconds`` are those of
                what is made after it.
            folder: the run is written there as it happens. Where an unfinished run of the same arguments is there, it
                is gone on with; see ``pipeline.run_folder``.
            fresh: begin anew, whatever is in the folder.

        Raises:
            PromptError, ConfigError: at once; what is raised later, while the stream is read: see ``Engine.run``.
            OutputError: the folder cannot be written, or holds another run; while the stream is read.
        """
        given = self.given(image, video)
        asked = self.asked(prompt, chunks, seed, policy, seconds=seconds, endless=endless, given=given)
        if folder is None:
            return Stream(self.search(asked, Recorder(), watcher))
        return Stream(self._in_folder(asked, Path(folder), fresh, watcher))

    def run(
        self,
        prompt: Prompt,
        chunks: int | None = None,
        seed: int = 0,
        policy: str | None = None,
        watcher: Watcher = Watcher(),
        *,
        seconds: float | None = None,
        endless: bool = False,
        image: str | Path | None = None,
        video: str | Path | None = None,
        folder: str | Path | None = None,
        fresh: bool = False,
    ) -> Run:
        """The same as ``stream``, read to its end."""
        what = {"seconds": seconds, "endless": endless, "image": image, "video": video}
        return self.stream(prompt, chunks, seed, policy, watcher, **what, folder=folder, fresh=fresh).finish()

    def _in_folder(
        self, asked: Asked, path: Path, fresh: bool, watcher: Watcher, next_scene: NextScene = lambda: None
    ) -> Iterator[FinalChunk | Run]:
        with run_folder(path, asked, self.models.decoder.fps, fresh) as folder:
            yield from self.search(asked, folder, watcher, next_scene)

    def _under(self, state: SearchState, scene: Scene | None) -> SearchState:
        """The state whose next chunk begins a scene; itself where there is none, or where it would change nothing."""
        stays = scene is not None and scene.prompt == state.prompt
        if scene is None or (stays and (scene.memory or self.config.memory.switch) == "keep"):
            return state
        return state.under(scene)

    def session(
        self,
        prompt: str,
        seed: int = 0,
        policy: str | None = None,
        watcher: Watcher = Watcher(),
        *,
        folder: str | Path | None = None,
        fresh: bool = False,
    ) -> Session:
        """A video without an end that is talked to while it is made; see ``Session`` and ``stream``."""

        def begun(first: str, live: Live) -> Stream:
            asked = self.asked(first, None, seed, policy, endless=True)
            watchers = Watchers((live, watcher))
            if folder is None:
                return Stream(self.search(asked, Recorder(), watchers, live.next_scene))
            return Stream(self._in_folder(asked, Path(folder), fresh, watchers, live.next_scene))

        self.check_prompt(prompt)
        self.asked(prompt, None, seed, policy, endless=True)
        return Session(prompt, begun, self.check_prompt)

    def search(
        self, asked: Asked, record: Recorder | RunFolder, watcher: Watcher, next_scene: NextScene = lambda: None
    ) -> Iterator[FinalChunk | Run]:
        """Final chunks as they come, and before the last of them the run.

        Args:
            next_scene: asked before every chunk but the first; what it gives begins with that chunk.
        """
        models, settings, left = self.models, asked.search, Left()
        watchers = Watchers((record, left, watcher))
        with enough_memory("the prompt was encoded"):
            state = record.begin(models, asked, Watchers((left, watcher)))
        try:
            while not state.ended:
                yield from left.chunks()
                state = self._under(state, next_scene() if state.chunk else None)
                try:
                    with enough_memory(f"chunk {nth(state.chunk)} was searched"):
                        state = step(models, settings, state, watchers)
                except Stopped:
                    if asked.chunks is not None or not state.chunk:
                        record.stopped(models, state)
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
