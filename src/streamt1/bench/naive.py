"""The search done the way the official code does it, inside this project: the slow twin that it is measured against.

Every candidate copies its parent's whole memory, runs alone, and does a context pass of its own, whether it survives or
not; the long window is decoded again for every candidate, and the chunk once more for the short reward; the rewards
get files: a PNG for each frame of the chunk, an MP4 of the window.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from streamt1.backbones.wan.backbone import WanBackbone, WanBranch
from streamt1.core.frames import floats
from streamt1.core.protocols import ClipReward, Decoder, FrameReward, Switched
from streamt1.core.timeline import Switch
from streamt1.core.types import Remembered, RewardOutput, Route
from streamt1.media.mp4 import write_video
from streamt1.media.pixels import to_bytes
from streamt1.memory.branch import Branch
from streamt1.memory.pages import Page


class NaiveBackbone:
    """Satisfies ``VaryingBackbone`` over a ``WanBackbone``, with copies in place of sharing."""

    def __init__(self, inner: WanBackbone) -> None:
        self.inner = inner
        self.chunk_shape = inner.chunk_shape
        self.steps, self.draws = inner.steps, inner.draws
        self.first_steps, self.first_draws, self.made = inner.first_steps, inner.first_draws, inner.made
        self._copies: list[WanBranch] = []

    def start(self, prompt: str) -> WanBranch:
        """See ``Backbone.start``."""
        return self.inner.start(prompt)

    def denoise(self, parents: Sequence[WanBranch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        """One candidate after another, each over a copy of the memory that it keeps, and a context pass for each."""
        noisy, clean = [], []
        for index, parent in enumerate(parents):
            copied, row = WanBranch(parent.prompt, _copied(parent.memory)), slice(index, index + 1)
            made = self.inner.denoise([copied], x[row], noise[row], steps)
            self._copies.append(self.inner.commit(copied, made[0][0], None))
            noisy.append(made[0])
            clean.append(made[1])
        return torch.cat(noisy), torch.cat(clean)

    def commit(self, branch: WanBranch, latents: Tensor, route: Route | None) -> WanBranch:
        """The survivor goes on; the candidates' copies are dropped once the chunk is decided."""
        for copy in self._copies:
            self.inner.release(copy)
        self._copies = []
        return self.inner.commit(branch, latents, route)

    def switch(self, branch: WanBranch, prompt: str, memory: Switch | None) -> Switched:
        """See ``Backbone.switch``."""
        return self.inner.switch(branch, prompt, memory)

    def switch_passes(self, memory: Switch | None) -> int:
        """See ``Backbone.switch_passes``."""
        return self.inner.switch_passes(memory)

    def inspect(self, branch: WanBranch) -> Remembered:
        """See ``Backbone.inspect``."""
        return self.inner.inspect(branch)

    def release(self, branch: WanBranch) -> None:
        """See ``Backbone.release``."""
        self.inner.release(branch)


class NaiveFrameReward:
    """Satisfies ``FrameReward``: writes every frame as a PNG."""

    def __init__(self, inner: FrameReward) -> None:
        self.inner = inner

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        """See ``FrameReward.score``."""
        with tempfile.TemporaryDirectory() as folder:
            for index, frame in enumerate(to_bytes(frames.flatten(0, 1))):
                Image.fromarray(frame.numpy()).save(Path(folder) / f"{index}.png")
        return self.inner.score(frames, text)


class NaiveClipReward:
    """Satisfies ``ClipReward``: writes every clip as an MP4.

    Nothing is read back: what an MP4 loses would change survivors.
    """

    def __init__(self, inner: ClipReward) -> None:
        self.inner = inner

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """See ``ClipReward.score``; one clip at a time."""
        with tempfile.TemporaryDirectory() as folder:
            for clip in clips:
                write_video(Path(folder) / "clip.mp4", to_bytes(clip), round(fps))
        parts = [self.inner.score(clip[None], fps, text) for clip in clips]
        components = {name: torch.cat([part.components[name] for part in parts]) for name in parts[0].components}
        return RewardOutput(torch.cat([part.score for part in parts]), components)


def _copied(memory: Branch) -> Branch:
    def copy(page: Page) -> Page:
        mine = page.brought(page.keys.device)
        return mine.with_content(mine.keys, mine.values, page.id)

    sinks, window = tuple(map(copy, memory.sinks)), tuple(map(copy, memory.window))
    return Branch(sinks, window, memory.chunks, memory.eviction)


@dataclass(frozen=True, eq=False)
class _Past:
    """The decoder's state before the first chunk of the next window, and the latents of that window's past."""

    state: Any
    latents: tuple[Tensor, ...] = ()


class NaiveDecoder:
    """Satisfies ``Decoder``: decodes the whole window again for every candidate, and the chunk alone once more.

    Frames are those of the streaming decode, as floats, so that the scores, and with them the survivors, are the same.
    """

    def __init__(self, inner: Decoder, window: int) -> None:
        self.inner, self.window = inner, window
        self.fps, self.time_stride = inner.fps, inner.time_stride

    def start(self) -> _Past:
        """See ``Decoder.start``."""
        return _Past(self.inner.start())

    def decode(self, states: Sequence[_Past], latents: Tensor) -> tuple[Tensor, list[_Past]]:
        """See ``Decoder.decode``."""
        frames, after_each = [], []
        for past, own in zip(states, latents, strict=True):
            self.inner.decode([self.inner.start()], own[None])
            window, clip, state, first = (*past.latents, own), [], past.state, past.state
            slides = len(window) == self.window
            for place, chunk in enumerate(window):
                decoded, [state] = self.inner.decode([state], chunk[None])
                clip.append(floats(decoded))
                if slides and not place:
                    first = state
            frames.append(torch.cat(clip, dim=1)[:, -decoded.shape[1] :].clone())
            after_each.append(_Past(first, window[slides:]))
        return torch.cat(frames), after_each
