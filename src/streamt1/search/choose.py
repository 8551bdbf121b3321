"""Choose: after the last chunk, the beam whose whole video the clip reward likes best is the answer.

A video without an end has no whole: there the clip reward's window that ends with the last chunk decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models
from streamt1.core.remote import here
from streamt1.core.timeline import Timeline
from streamt1.core.types import Chunk
from streamt1.search.candidate import Beam
from streamt1.search.config import SearchConfig
from streamt1.search.cost import Cost, CostMeter
from streamt1.search.reward_pruning import prune
from streamt1.search.score import finite
from streamt1.search.settle import settle
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.search.whole import video_scores
from streamt1.trace.events import BeamJudged, RunFinished, Warned


@dataclass(frozen=True, eq=False)
class Result:
    """The answer of a search. It holds no handles of any model.

    Attributes:
        fps: pixel frames per second.
        frames: the chosen video, ``[T, 3, H, W]``: floats in 0..1 or uint8, as the decoder made them. Of a video
            without an end, the chunks that were still held.
        latents: of the same chunks, ``[F, C, H, W]``.
        beam: the chosen one of ``beams``.
        beams: all that survived, best rank first.
        final: clip reward of each surviving beam's whole video, or of its last window; NaN where it has none.
        endless: whether the video had no end, so that most of it is not here.
        timeline: its scenes, as they came; None where there was one.
    """

    fps: int
    frames: Tensor
    latents: Tensor
    beam: Beam
    beams: tuple[Beam, ...]
    final: tuple[float, ...]
    cost: Cost
    endless: bool = False
    timeline: Timeline | None = None


def choose(models: Models, config: SearchConfig, state: SearchState, watcher: Watcher = Watcher()) -> Result:
    """The answer, given the state after the last chunk; the earlier beam wins a tie, and where nothing was judged.

    Raises:
        RewardError: several videos, and no score is finite. A video alone needs none.
        ConfigError: the state is of an earlier chunk, or of none.
    """
    if not state.ended and (state.chunks is not None or not state.chunk):
        raise ConfigError(f"only {state.chunk} of {state.chunks} chunks are made: search on before you choose")
    cost = CostMeter(state.cost)
    finals = _last_windows(state) if state.chunks is None else video_scores(models, state, cost)
    for rank, (beam, long) in enumerate(zip(state.beams, finals)):
        if state.chunks is not None and not math.isfinite(long):
            loses = "has no judgement" if len(finals) == 1 else "loses"
            watcher.happened(Warned(f"the video of beam {rank} {loses}: its score is not a finite number"))
        watcher.happened(BeamJudged(beam.lineage[-1], rank, finite(long)))
    judged = state.chunks is not None or any(beam.last and beam.last.score for beam in state.beams)
    chosen = prune(finals, 1)[0] if len(finals) > 1 and judged else 0
    state = settle(models, state, chosen, state.chunk, watcher, cost)
    beams, frames = _whole(models, state, chosen)
    latents, spent = torch.cat([chunk.latents for chunk in beams[chosen].chunks]), cost.total
    watcher.happened(RunFinished(list(beams[chosen].lineage), finite(finals[chosen]), spent.record()))
    timeline = state.timeline if state.chunks is not None else state.timeline.ended(state.chunk)
    scenes = timeline if len(timeline.scenes) > 1 else None
    kept = beams[chosen], tuple(beams), tuple(finals)
    return Result(models.decoder.fps, frames, latents, *kept, spent, state.chunks is None, scenes)


def _last_windows(state: SearchState) -> list[float]:
    """The clip reward of each beam's last window, as it was when its last chunk was scored."""
    scores = [beam.last.score if beam.last else None for beam in state.beams]
    return [score.long if score else math.nan for score in scores]


def _whole(models: Models, state: SearchState, chosen: int) -> tuple[list[Beam], Tensor]:
    """The beams with all of their chunks and without handles, and the chosen one's frames as people see them."""
    past, lineage = state.archive.chunks(), state.beams[chosen].lineage
    settled = dict(zip(lineage, past))
    beams = [_let_go(beam, past[: beam.first], settled) for beam in state.beams]
    if state.chunks is None:
        return beams, torch.cat([here(chunk.frames) for chunk in beams[chosen].chunks])
    frames = state.archive.shown()
    if models.draft is None:
        beams[chosen] = _within(beams[chosen], frames)
    return beams, frames


def _let_go(beam: Beam, past: Sequence[Chunk], settled: Mapping[int, Chunk]) -> Beam:
    """The same beam with its past chunks and without handles of any model; settled chunks by their candidate."""
    own = zip(beam.lineage[beam.first :], beam.chunks)
    chunks = (*past, *(settled.get(candidate) or chunk.near() for candidate, chunk in own))
    return dataclasses.replace(beam, chunks=chunks, branch=None, decoder_state=None, before=())


def _within(beam: Beam, frames: Tensor) -> Beam:
    """The same beam whose chunks are parts of the joined video, so that its pixels are kept once."""
    bounds: Sequence[int] = list(accumulate((len(chunk.frames) for chunk in beam.chunks), initial=0))
    parts = zip(beam.chunks, pairwise(bounds))
    return dataclasses.replace(
        beam, chunks=tuple(dataclasses.replace(chunk, frames=frames[begin:end]) for chunk, (begin, end) in parts)
    )
