"""Runs to make pages of: a search over the Gaussian toy with a real memory, and folders that hold its trace."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from streamt1.backbones.gaussian import (
    GaussianBackbone,
    GaussianBranch,
    IdentityDecoder,
    TargetClipReward,
    TargetFrameReward,
)
from streamt1.core.protocols import Models, Switched
from streamt1.core.timeline import Scene, Switch, Timeline
from streamt1.core.types import Remembered
from streamt1.memory import Branch, BranchingMemory, MemoryConfig, Page
from streamt1.memory.switch import emptied, recache_of, recached
from streamt1.search.choose import choose
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine, search
from streamt1.search.start import start
from streamt1.trace.store import write_thumbnails, write_trace
from tests.search.toy import EventRecorder


@dataclass(frozen=True, eq=False)
class RememberingBranch(GaussianBranch):
    memory: Branch = field(default_factory=Branch)


class RememberingGaussian(GaussianBackbone):
    """The toy with a memory of empty pages: 1 sink chunk, 3 of window, 1 chunk more may be appended."""

    def __init__(self, global_sink: bool = True) -> None:
        super().__init__()
        config = MemoryConfig(4, 1, 3, 1, global_sink=global_sink)
        self.memory_rules = BranchingMemory(config, lambda keys, by: keys)

    def start(self, prompt: str) -> RememberingBranch:
        return RememberingBranch(super().start(prompt).mean)

    def commit(self, branch: Any, latents: torch.Tensor, route: Any) -> RememberingBranch:
        child = super().commit(branch, latents, route)
        page = self._page(branch.memory.chunks, child.routes)
        return RememberingBranch(child.mean, child.routes, self.memory_rules.commit(branch.memory, page))

    def switch(self, branch: Any, prompt: str, memory: Switch | None) -> Switched:
        done = super().switch(branch, prompt, memory).branch
        if memory != "recache":
            after = emptied(branch.memory) if memory == "cut" else branch.memory
            return Switched(replace(done, memory=self.memory_rules.held(after)))
        todo = recache_of(self.memory_rules.config, branch.memory)
        pages = [self._page(chunk, branch.routes) for chunk in todo.chunks]
        after = self.memory_rules.held(recached(self.memory_rules, branch.memory, todo, pages))
        return Switched(replace(done, memory=after), len(todo.chunks), tuple(todo.chunks))

    def _page(self, chunk: int, routes: Any) -> Page:
        return Page(chunk, torch.zeros(1), torch.zeros(1), f"chunk {chunk}", routes[chunk])

    def inspect(self, branch: Any) -> Remembered:
        return branch.memory.remembered(1)


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, 80, 120)).save(buffer, format="WEBP")
    return buffer.getvalue()


def write_run(
    folder: Path, chunks: int, config: SearchConfig = SearchConfig(long_threshold=0.0), prompt: str = "a <b>test</b>"
) -> Path:
    """A folder with a trace and thumbnails, without a video."""
    recorder = EventRecorder()
    models = Models(RememberingGaussian(), IdentityDecoder(), TargetFrameReward(), TargetClipReward())
    Engine(models, config, recorder).run(prompt, chunks)
    write_trace(folder / "trace.jsonl", recorder.stamped)
    write_thumbnails(folder / "thumbnails.jsonl", {one: picture(one) for one in range(chunks * 4)})
    return folder


class SlowDecoder(IdentityDecoder):
    """Two frames a second."""

    fps = 2


def write_timeline(
    folder: Path,
    scenes: Sequence[Scene],
    backbone: Any = None,
    decoder: Any = None,
    config: SearchConfig = SearchConfig(long_threshold=0.0),
) -> Path:
    """The same for a video of scenes, over ``RememberingGaussian`` unless another backbone is given."""
    recorder = EventRecorder()
    models = Models(
        backbone or RememberingGaussian(), decoder or IdentityDecoder(), TargetFrameReward(), TargetClipReward()
    )
    state = start(models, config, Timeline(tuple(scenes)), watcher=recorder)
    for reached in search(models, config, state, recorder):
        state = reached
    choose(models, config, state, recorder)
    state.release(models)
    write_trace(folder / "trace.jsonl", recorder.stamped)
    chunks = sum(scene.chunks or 0 for scene in scenes)
    write_thumbnails(folder / "thumbnails.jsonl", {one: picture(one) for one in range(chunks * 4)})
    return folder
