"""The work of one chunk late in a long video, piece by piece, for a trial.

It is no search: latents are drawn, and memory is as full as it ever gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.protocols import Branch, DecoderState, Models
from streamt1.core.seeds import generator
from streamt1.core.types import RewardOutput, Route
from streamt1.search.decode import batches
from streamt1.search.width import shares

PROMPTS = ("a red circle resting on a navy plain background", "a green star sliding on a black plain background")
"""Any model reads them, the pocket models too; two, since an encoder keeps its last answer."""


@dataclass(frozen=True)
class Task:
    """One kind of work.

    Attributes:
        name: for people.
        work: (round, from 0) -> the answer; a tensor must be finite, anything else is a handle or nothing.
        doing: ends the sentence "memory ran out while ...".
        note: how much work it is.
        phase: of the memory plan.
        rounds: how often it is done.
        per_chunk: how often a chunk of a search needs it.
        model: what gives the answer.
    """

    name: str
    work: Callable[[int], Any]
    doing: str
    note: str = ""
    phase: str = ""
    rounds: int = 1
    per_chunk: int = 0
    model: str = ""


class ChunkWork:
    """Mutable: each piece leaves what the next one takes. ``release`` it in the end.

    ``route``: what becomes of every chunk that leaves the window; by default memory fills with sinks.
    """

    def __init__(self, models: Models, config: RunConfig, route: Route = Route.APPEND) -> None:
        self.models, self.search, self.memory, self.route = models, config.effective_search, config.memory, route
        self._widths = shares(self.search.beam_size * self.search.top_k, self.search.top_k)
        self._draw = generator(0)
        self._beams: list[Branch] = []
        self._states: list[DecoderState] = []
        self._latents = self._frames = torch.empty(0)

    def tasks(self) -> Iterator[Task]:
        """In the order in which they must be done, each before the next is asked for."""
        count, beams, window = sum(self._widths), self.search.top_k, self.search.window
        steps, held = self.models.backbone.steps, f"{beams} x {self.memory.max_frames} latent frames"
        all_of_them = f"{count} candidate{'s' * (count > 1)}"
        yield Task("encode", self._encode, "a prompt was encoded", "a prompt", "encode", 2)
        yield Task("fill memory", self._fill, "memory was filled", held, "commit")
        transformer = "the transformer"
        yield Task(
            "denoise", self._denoise, "candidates were denoised", f"a pass of {all_of_them}", "denoise", 2, steps,
            transformer,
        )  # fmt: skip
        yield Task("commit", self._commit, "a survivor was committed", "a survivor", "commit", 2, beams, transformer)
        decoder = "the decoder" if self.models.draft is None else "the draft decoder"
        yield Task("decode", self._decode, "candidates were decoded", all_of_them, "decode", 2, 1, decoder)
        if self.models.draft is not None:
            yield Task("last decode", self._show, "a chunk was decoded", "a chunk", "decode", 2, 1, "the decoder")
        looked = f"{self._shown().shape[1]} frames"
        yield Task("frame reward", self._short, "frames were scored", looked, "score", 2, count, "the frame reward")
        clip = f"{window} chunk{'s' * (window > 1)}"
        yield Task("clip reward", self._long, "a clip was scored", clip, "score", 2, count, "the clip reward")

    def release(self) -> None:
        """Gives the memory of the beams back."""
        while self._beams:
            self.models.backbone.release(self._beams.pop())

    def _encode(self, turn: int) -> None:
        self.release()
        self._beams = [self.models.backbone.start(PROMPTS[turn])]

    def _fill(self, turn: int) -> None:
        """Every beam gets a past of its own, as long as memory holds, and one chunk that is blended into a sink."""
        (root,) = self._beams
        self._beams += [self._filled(root) for _ in self._widths]
        self.models.backbone.release(self._beams.pop(0))

    def _filled(self, root: Branch) -> Branch:
        branch = self._written(root, self._drawn())
        for _ in range(self.memory.max_frames // self.memory.chunk - 1):
            grown = self._written(branch, self._drawn())
            self.models.backbone.release(branch)
            branch = grown
        return branch

    def _written(self, branch: Branch, latents: Tensor) -> Branch:
        return self.models.backbone.commit(branch, latents, self.route)

    def _drawn(self, *count: int) -> Tensor:
        return torch.randn(*count, *self.models.backbone.chunk_shape, generator=self._draw)

    def _denoise(self, turn: int) -> Tensor:
        """One step of all candidates; the clean chunks that it predicts go on."""
        backbone, count = self.models.backbone, sum(self._widths)
        parents = [beam for beam, width in zip(self._beams, self._widths) for _ in range(width)]
        x, fresh = self._drawn(count), self._drawn(count, backbone.draws)
        made = [
            backbone.denoise(parents[rows], x[rows], fresh[rows], range(1))[1]
            for rows in batches(self.models, self.search, count)
        ]
        self._latents = torch.cat(made)
        return self._latents

    def _commit(self, turn: int) -> None:
        rank = turn % len(self._beams)
        before = self._beams[rank]
        self._beams[rank] = self._written(before, self._latents[0])
        self.models.backbone.release(before)

    def _decode(self, turn: int) -> Tensor:
        """All candidates: each opens a video, and in the second round goes on from its beam's state."""
        decoder = self.models.scoring_decoder
        begun = self._states or [decoder.start() for _ in self._widths]
        parents = [state for state, width in zip(begun, self._widths) for _ in range(width)]
        frames: list[Tensor] = []
        after: list[DecoderState] = []
        for rows in batches(self.models, self.search, len(parents)):
            made, states = decoder.decode(parents[rows], self._latents[rows])
            frames.append(made)
            after += states
        self._states, pixels = after[: len(self._widths)], torch.cat(frames)
        self._frames = pixels[:1].clone()
        return pixels

    def _show(self, turn: int) -> Tensor:
        """The decoder of what leaves, where a draft shows candidates to the rewards."""
        begun = self._states[:1] if turn else [self.models.decoder.start()]
        frames, self._states = self.models.decoder.decode(begun, self._latents[:1])
        return frames

    def _shown(self) -> Tensor:
        """As many frames of one candidate's chunk as the search shows the frame reward."""
        return self._frames[:, : self.search.frames_scored]

    def _short(self, turn: int) -> Tensor:
        return _values(self.models.frame_reward.score(self._shown(), PROMPTS[1]))

    def _long(self, turn: int) -> Tensor:
        clip = torch.cat([self._frames] * self.search.window, dim=1)
        return _values(self.models.clip_reward.score(clip, self.models.scoring_decoder.fps, PROMPTS[1]))


def _values(output: RewardOutput) -> Tensor:
    return torch.stack([output.score, *output.components.values()])
