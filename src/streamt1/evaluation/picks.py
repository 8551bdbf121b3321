"""Watches a search choose, and asks the oracle about the very clips that the search chooses from.

The search does not learn what the oracle says: the watcher stands where the clip reward stands, passes its scores on
unchanged, and keeps its own time, so that the cost of looking can be taken off the cost of the search.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from streamt1.core.protocols import ClipReward
from streamt1.core.types import RewardOutput
from streamt1.evaluation.judge import Oracle
from streamt1.search.watcher import Watcher
from streamt1.trace.events import BeamJudged, CandidateProposed, ChunkCommitted, ChunkStarted, Event, RunFinished


@dataclass(frozen=True)
class Pick:
    """One choice among candidates, in oracle units 0..1.

    Attributes:
        chosen: mean of those that were kept.
        random: mean of all, which a random pick would have on average.
        best: mean of as many of the best.
    """

    chosen: float
    random: float
    best: float

    @property
    def regret(self) -> float:
        """What a perfect judge would have gained, 0 or more."""
        return self.best - self.chosen


def pick_of(values: list[float], kept: list[int]) -> Pick:
    """The choice of the indices ``kept`` among all ``values``."""
    data = np.asarray(values, dtype=np.float64)
    return Pick(float(data[kept].mean()), float(data.mean()), float(np.sort(data)[::-1][: len(kept)].mean()))


class PickWatcher(Watcher):
    """Satisfies ``ClipReward`` too: give it to one search as both.

    Args:
        reward: the search's own.
        oracle: reads a clip ``[T, 3, H, W]`` against the prompt that the reward is asked about.
        every: looks at every n-th chunk, the n-th first. Choices among whole videos are always looked at.

    Attributes:
        chunks: choices at chunk boundaries.
        final: the choice among whole videos; None where there was but one.
        seconds: spent on looking.
    """

    def __init__(self, reward: ClipReward, oracle: Oracle, every: int = 1) -> None:
        self._reward, self._oracle, self._every = reward, oracle, every
        self._values: list[float] = []
        self._ids: list[int] = []
        self._kept: list[int] = []
        self._judged: list[int] = []
        self._looking = False
        self.chunks: list[Pick] = []
        self.final: Pick | None = None
        self.seconds = 0.0

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """The reward's answer, unchanged."""
        output = self._reward.score(clips, fps, text)
        output.score.cpu()  # waits for the device, so that the reward's time is not taken for ours
        begin = time.perf_counter()
        if self._kept:
            self._close_chunk()
        if self._looking:
            self._values += [self._oracle(clip, text).mean for clip in clips]
        self.seconds += time.perf_counter() - begin
        return output

    def happened(self, event: Event) -> None:
        """Sees every event of the run, in order."""
        if isinstance(event, ChunkStarted):
            self._close_chunk()
            self._looking = (event.chunk + 1) % self._every == 0
        elif isinstance(event, CandidateProposed):
            self._ids.append(event.candidate)
        elif isinstance(event, ChunkCommitted):
            self._kept.append(event.candidate)
        elif isinstance(event, BeamJudged):
            self._judged.append(event.candidate)
        elif isinstance(event, RunFinished) and len(self._judged) > 1:
            videos = np.reshape(self._values, (len(self._judged), -1)).mean(1)  # scene after scene of each
            self.final = pick_of(videos.tolist(), [self._judged.index(event.lineage[-1])])

    def _close_chunk(self) -> None:
        """Keeps the choice of the chunk that was committed; what is asked next is about whole videos, or a new one."""
        if self._kept and len(self._values) == len(self._ids):
            self.chunks.append(pick_of(self._values, [self._ids.index(one) for one in self._kept]))
        self._values, self._ids, self._kept = [], [], []
        self._looking = True
