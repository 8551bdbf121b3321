"""Runs to make pages of: a search over the Gaussian toy with a real memory, and folders that hold its trace."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
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
from streamt1.core.protocols import Models
from streamt1.core.types import Remembered
from streamt1.memory import Branch, BranchingMemory, MemoryConfig, Page
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from streamt1.trace.store import write_thumbnails, write_trace
from tests.search.toy import EventRecorder


@dataclass(frozen=True, eq=False)
class RememberingBranch(GaussianBranch):
    memory: Branch = field(default_factory=Branch)


class RememberingGaussian(GaussianBackbone):
    """The toy with a memory of empty pages: 1 sink chunk, 3 of window, 1 chunk more may be appended."""

    def __init__(self) -> None:
        super().__init__()
        self.memory_rules = BranchingMemory(MemoryConfig(4, 1, 3, 1), lambda keys, by: keys)

    def start(self, prompt: str) -> RememberingBranch:
        return RememberingBranch(super().start(prompt).mean)

    def commit(self, branch: Any, latents: torch.Tensor, route: Any) -> RememberingBranch:
        child = super().commit(branch, latents, route)
        page = Page(branch.memory.chunks, torch.zeros(1), torch.zeros(1), f"chunk {branch.memory.chunks}", route)
        return RememberingBranch(child.mean, child.routes, self.memory_rules.commit(branch.memory, page))

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
