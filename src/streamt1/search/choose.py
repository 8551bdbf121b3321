"""Choose: after the last chunk, the beam whose whole video the clip reward likes best is the answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models
from streamt1.search.config import SearchConfig
from streamt1.search.cost import Cost, CostMeter
from streamt1.search.reward_pruning import prune
from streamt1.search.score import finite, video_scores
from streamt1.search.settle import settle
from streamt1.search.state import Beam, SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import BeamJudged, RunFinished, Warned


@dataclass(frozen=True, eq=False)
class Result:
    """The answer of a search. It holds no handles of any model.

    Attributes:
        fps: pixel frames per second.
        frames: the chosen video, ``[T, 3, H, W]``: floats in 0..1 or uint8, as the decoder made them.
        latents: of the chosen video, ``[F, C, H, W]``.
        beam: the chosen one of ``beams``.
        beams: all that survived, best rank first.
        final: clip reward of each surviving beam's whole video.
    """

    fps: int
    frames: Tensor
    latents: Tensor
    beam: Beam
    beams: tuple[Beam, ...]
    final: tuple[float, ...]
    cost: Cost


def choose(models: Models, config: SearchConfig, state: SearchState, watcher: Watcher = Watcher()) -> Result:
    """The answer, given the state after the last chunk; the earlier beam wins a tie.

    Raises:
        RewardError: no video's score is finite.
        ConfigError: the state is of an earlier chunk.
    """
    if state.chunk < state.chunks:
        raise ConfigError(f"only {state.chunk} of {state.chunks} chunks are made: search on before you choose")
    cost = CostMeter(state.cost)
    finals = video_scores(models, state, cost)
    for rank, (beam, long) in enumerate(zip(state.beams, finals)):
        if not math.isfinite(long):
            watcher.happened(Warned(f"the video of beam {rank} loses: its score is not a finite number"))
        watcher.happened(BeamJudged(beam.lineage[-1], rank, finite(long)))
    chosen = prune(finals, 1)[0]
    state = settle(models, state, chosen, state.chunks, watcher, cost)
    frames = torch.cat(state.settled)
    beams = [dataclasses.replace(beam, branch=None, decoder_state=None) for beam in state.beams]
    if models.draft is None:
        beams[chosen] = _within(beams[chosen], frames)
    latents, spent = torch.cat([chunk.latents for chunk in beams[chosen].chunks]), cost.total
    watcher.happened(RunFinished(list(beams[chosen].lineage), finals[chosen], spent.record()))
    return Result(models.decoder.fps, frames, latents, beams[chosen], tuple(beams), tuple(finals), spent)


def _within(beam: Beam, frames: Tensor) -> Beam:
    """The same beam whose chunks are parts of the joined video, so that its pixels are kept once."""
    bounds: Sequence[int] = list(accumulate((len(chunk.frames) for chunk in beam.chunks), initial=0))
    parts = zip(beam.chunks, pairwise(bounds))
    return dataclasses.replace(
        beam, chunks=tuple(dataclasses.replace(chunk, frames=frames[begin:end]) for chunk, (begin, end) in parts)
    )
