"""Prune: which candidates survive a chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streamt1.core.seeds import derive_seed
from streamt1.search import reward_pruning
from streamt1.search.candidate import Candidate
from streamt1.search.config import SearchConfig
from streamt1.search.settle import within_lag
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.search.whole import judges_scene
from streamt1.trace.events import CandidatePruned


def prune(
    config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], watcher: Watcher
) -> list[Candidate]:
    """The survivors, best first, each in memory of its own, so that those it was made with can be freed.

    Raises:
        RewardError: no score is finite.
    """
    kept = _kept(config, state, candidates)
    if config.pruning != "final":
        for index in sorted(set(range(len(candidates))) - set(kept)):
            watcher.happened(CandidatePruned(state.chunk, candidates[index].id))
    survivors = [candidates[index] for index in kept]
    return [survivor.with_chunk(survivor.chunk.apart()) for survivor in survivors]


def _kept(config: SearchConfig, state: SearchState, candidates: Sequence[Candidate]) -> list[int]:
    """Indices of the survivors, best first."""
    top_k, whole = config.top_k, [index for index, one in enumerate(candidates) if one.fault is None]
    if config.pruning == "final" or (config.pruning == "scene" and not judges_scene(config, state, candidates)):
        return whole
    if config.pruning == "random":
        picked = reward_pruning.random_pick(len(whole), top_k, derive_seed(state.seed, state.chunk, 0, 0, "prune"))
        kept = [whole[place] for place in picked]
    else:
        scores = [candidate.chunk.score for candidate in candidates]
        best = 1 if config.pruning == "scene" else top_k
        kept = reward_pruning.prune([score.fused if score else math.nan for score in scores], best)
    if config.lag is None:
        return kept
    return [kept[place] for place in within_lag([candidates[index].lineage for index in kept], config.lag)]
