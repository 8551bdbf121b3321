"""Watches a search choose, and asks the oracle about the very clips that the search chooses from.

The search does not learn what the oracle says: the watcher stands where the clip reward stands, passes its scores on
unchanged, and keeps its own time, so that the cost of looking can be taken off the cost of the search.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from streamt1.core.protocols import ClipReward, SamplingClipReward
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
        every: looks at every n-th chunk, the n-th first. Choices among whole scenes and videos are always looked at.
        pruning: of the search, see ``SearchConfig``: what it chooses among.

    Attributes:
        chunks: choices at the ends of chunks, or of all scenes but the last.
        final: the choice among whole videos, or, where a search chooses scene by scene, among the last scenes; None
            where there was but one.
        seconds: spent on looking.
    """

    def __init__(self, reward: ClipReward, oracle: Oracle, every: int = 1, pruning: str = "reward") -> None:
        self._reward, self._oracle = reward, oracle
        self._every, self._pruning = 1 if pruning == "scene" else every, pruning
        self._whole = False
        self._values: list[float] = []
        self._ids: list[int] = []
        self._kept: list[int] = []
        self._judged: list[int] = []
        self._looking = False
        self.chunks: list[Pick] = []
        self.final: Pick | None = None
        self.seconds = 0.0

    @property
    def picks(self) -> Sequence[Pick]:
        """The choices by which the search came to its video."""
        final = [self.final] if self.final else []
        return {"scene": [*self.chunks, *final], "final": final}.get(self._pruning, self.chunks)

    @property
    def takes_bytes(self) -> bool:
        """As the reward does, see ``ClipReward``."""
        return getattr(self._reward, "takes_bytes", False)

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """The reward's answer, unchanged."""
        output = self._reward.score(clips, fps, text)
        self._look(output, clips, text)
        return output

    def _look(self, output: RewardOutput, clips: Tensor, text: str) -> None:
        output.score.cpu()  # waits for the device, so that the reward's time is not taken for ours
        begin = time.perf_counter()
        if self._looks():
            self._values += [self._oracle(clip, text).mean for clip in clips]
        self.seconds += time.perf_counter() - begin

    def _looks(self) -> bool:
        """At what is asked about now; not at previews, which are scored before there are candidates of their chunk."""
        if self._kept:
            self._close_chunk()
        return self._looking and bool(self._whole or self._ids)

    def happened(self, event: Event) -> None:
        """Sees every event of the run, in order."""
        if isinstance(event, ChunkStarted):
            self._close_chunk()
            self._looking, self._whole = (event.chunk + 1) % self._every == 0, False
        elif isinstance(event, CandidateProposed):
            self._ids.append(event.candidate)
        elif isinstance(event, ChunkCommitted):
            self._kept.append(event.candidate)
        elif isinstance(event, BeamJudged):
            self._judged.append(event.candidate)
        elif isinstance(event, RunFinished) and len(self._judged) > 1:
            scenes = np.reshape(self._values, (len(self._judged), -1))  # of each video
            videos = scenes[:, -1] if self._pruning == "scene" else scenes.mean(1)
            self.final = pick_of(videos.tolist(), [self._judged.index(event.lineage[-1])])

    def _close_chunk(self) -> None:
        """Keeps the choice of the chunk that was committed; what is asked next is about whole videos, or a new one."""
        if self._kept and len(self._values) == len(self._ids):
            self.chunks.append(pick_of(self._values, [self._ids.index(one) for one in self._kept]))
        self._values, self._ids, self._kept = [], [], []
        self._looking = self._whole = True


class SamplingPickWatcher(PickWatcher):
    """The same for a ``SamplingClipReward``, which it satisfies: whole clips are gathered only where it looks."""

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        """See ``SamplingClipReward``."""
        return range(total) if self._looks() else self._sampling.looks_at(total, fps)

    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        """The reward's answer, unchanged."""
        wanted = seen[:, list(self._sampling.looks_at(total, fps))] if self._looks() else seen
        output = self._sampling.score_seen(wanted, total, fps, text)
        self._look(output, seen, text)
        return output

    @property
    def _sampling(self) -> SamplingClipReward:
        assert isinstance(self._reward, SamplingClipReward)
        return self._reward


def pick_watcher(reward: ClipReward, oracle: Oracle, every: int, pruning: str) -> PickWatcher:
    """One that asks a reward as the search would."""
    kind = SamplingPickWatcher if isinstance(reward, SamplingClipReward) else PickWatcher
    return kind(reward, oracle, every, pruning)
