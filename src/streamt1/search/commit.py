"""Commit: survivors, and only they, are written into memory; what all of them share settles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from streamt1.core.protocols import Branch, Models
from streamt1.search.candidate import Beam, Candidate
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.given import written
from streamt1.search.lease import Lease, release
from streamt1.search.settle import leave, settle, shared_chunks
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkCommitted, MemoryChanged


def commit(
    models: Models,
    config: SearchConfig,
    state: SearchState,
    survivors: Sequence[Candidate],
    watcher: Watcher,
    cost: CostMeter,
) -> SearchState:
    """The state at the next chunk boundary; the memory of the one before is given back.

    The last chunk has no future, so it is kept without being written. Whatever fails, nothing stays behind, and the
    state that was given still holds its memory.
    """
    beams: list[Beam] = []
    try:
        for candidate in survivors:
            beams.append(candidate.grown(_written(models, state, candidate, cost)))
        for rank, (candidate, beam) in enumerate(zip(survivors, beams)):
            _tell(models, watcher, candidate, rank, beam.branch)
        grown = dataclasses.replace(state, beams=tuple(beams), chunk=state.chunk + 1, lease=Lease())
        grown = settle(models, grown, 0, shared_chunks(grown.lineages), watcher, cost)
    except BaseException:
        release(models, beams)
        raise
    state.release(models)
    return dataclasses.replace(leave(config, grown), cost=cost.total)


def _written(models: Models, state: SearchState, candidate: Candidate, cost: CostMeter) -> Branch | None:
    if state.at_last:
        return None
    with cost.spend("model", model_passes=1):
        chunk = candidate.chunk
        return written(models, state, candidate.parent.branch, chunk.latents, chunk.route)


def _tell(models: Models, watcher: Watcher, candidate: Candidate, rank: int, branch: Branch | None) -> None:
    route = candidate.chunk.route
    watcher.happened(ChunkCommitted(candidate.chunk.index, candidate.id, rank, route.value if route else None))
    now = None if branch is None else models.backbone.inspect(branch)
    if now is None:
        return
    carried, outcome = (label.value if label else None for label in (now.route, now.outcome))
    held, gone = (list(now.sinks), list(now.window)), (now.left, carried, outcome, now.slot)
    watcher.happened(MemoryChanged(candidate.chunk.index, candidate.id, *held, *gone, now.recalled))
