"""Settle: chunks that leave while the search goes on, since all beams share them, or since a fixed lag forces it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from streamt1.core.protocols import DecoderState, Models
from streamt1.core.remote import here
from streamt1.core.types import Chunk
from streamt1.search.candidate import Beam
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkSettled

Lineage = tuple[int, ...]
"""Candidate ids of a beam's chunks, first to last."""


def settle(models: Models, state: SearchState, rank: int, count: int, watcher: Watcher, cost: CostMeter) -> SearchState:
    """The first ``count`` chunks of the beam of that rank are final: whatever wins begins with them."""
    beam, display = state.beams[rank], state.display
    for chunk in beam.chunks[state.final - beam.first : count - beam.first]:
        watcher.happened(ChunkSettled(chunk.index, beam.lineage[chunk.index]))
        chunk = chunk if models.draft else chunk.near()
        frames, display = _shown(models, chunk, display, cost)
        state.archive.keep(chunk, frames)
        watcher.settled(chunk.index, frames)
    return dataclasses.replace(state, final=max(count, state.final), display=display)


def leave(config: SearchConfig, state: SearchState) -> SearchState:
    """The same state, whose beams let go of settled chunks that no later chunk is judged by."""
    needed = max(config.window - 1, 1, state.in_scene if _judges_scene(config, state) else 0)
    scores = config.short_baseline == "all" or config.window == 1

    def tail(beam: Beam) -> Beam:
        count = min(state.final, state.chunk - needed) - beam.first
        return beam.without(count, scores) if count > 0 else beam

    return dataclasses.replace(state, beams=tuple(map(tail, state.beams)))


def _judges_scene(config: SearchConfig, state: SearchState) -> bool:
    """Whether the scene will be judged as a whole, so that its chunks stay: there are several samples, or will be."""
    if config.pruning != "scene" or config.beam_size * config.top_k == 1:
        return False
    budget = config.budget_passes is not None or config.budget_seconds is not None
    return len(state.beams) > 1 or not budget or state.chunk <= len(state.given)


def _shown(models: Models, chunk: Chunk, display: DecoderState, cost: CostMeter) -> tuple[Tensor, DecoderState]:
    """A settled chunk's frames as people see them, ``[T, 3, H, W]``, and the decoder's state after it."""
    if models.draft is None:
        return here(chunk.frames), display
    with cost.spend("decode", latents_decoded=len(chunk.latents)):
        frames, (display,) = models.decoder.decode([display], chunk.latents[None])
    return here(frames[0]), display


def shared_chunks(lineages: Sequence[Lineage]) -> int:
    """How many first chunks all beams have in common: whatever wins, the video begins with them."""
    shared = 0
    for ids in zip(*lineages):
        if len(set(ids)) > 1:
            break
        shared += 1
    return shared


def within_lag(lineages: Sequence[Lineage], lag: int) -> list[int]:
    """Indices of the beams that may stay when the chunk ``lag`` chunks ago must be decided now.

    The first beam is the best and decides; those that descend from another chunk go. Lag 0 keeps the best alone, which
    makes the search greedy over its candidates.
    """
    place = len(lineages[0]) - 1 - lag
    if place < 0:
        return list(range(len(lineages)))
    return [index for index, ids in enumerate(lineages) if ids[place] == lineages[0][place]]
