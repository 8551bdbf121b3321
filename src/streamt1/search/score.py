"""Score: the rewards look at every candidate's chunk and window, and decide the route that its chunk carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streamt1.core.protocols import Models
from streamt1.core.types import Route, Score
from streamt1.search.ask import NOTHING, ask
from streamt1.search.candidate import Candidate, Scored
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.memory_sinking import decide_route
from streamt1.search.reward_pruning import fuse, fusion_weight
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import CandidateScored, Warned


def score_chunks(
    models: Models,
    config: SearchConfig,
    state: SearchState,
    candidates: list[Candidate],
    watcher: Watcher,
    cost: CostMeter,
) -> list[Candidate]:
    """Every candidate with its short, long and fused score and its chunk's route, where the policy scores chunks."""
    if not config.scores_chunks:
        return candidates
    weight = fusion_weight(state.in_scene, state.scene_chunks, config.fusion_cap)
    scored = []
    for candidate, (short, short_parts), (long, long_parts) in rewarded(models, config, state, candidates, cost):
        total = Score(short, long, fuse(short, long, weight), {**short_parts, **long_parts})
        route = route_of(config, state, candidate, total)
        scored.append(candidate.with_chunk(candidate.chunk.scored(total, route)))
        tell_scores(watcher, scored[-1], total, route)
    return scored


def fused_scores(
    models: Models, config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], cost: CostMeter
) -> list[float]:
    """What candidates, or previews of them, are ranked by."""
    weight = fusion_weight(state.in_scene, state.scene_chunks, config.fusion_cap)
    rewards = rewarded(models, config, state, candidates, cost)
    return [fuse(short, long, weight) for _, (short, _), (long, _) in rewards]


def route_of(config: SearchConfig, state: SearchState, candidate: Candidate, total: Score) -> Route | None:
    """What will become of the candidate's chunk when it leaves the window, if it survives.

    It is compared with chunks of its own scene. The first of a later scene has none before it: it is kept as a sink
    where ``config.scene_sink`` says so, and dropped otherwise.
    """
    if not config.sinking:
        return None
    if state.chunk and not state.in_scene:
        return Route.APPEND if config.scene_sink else Route.DISCARD
    past = candidate.parent.scores[-state.in_scene :] if state.in_scene else []
    thresholds = config.short_threshold, config.long_threshold
    return decide_route(total, past, config.window, *thresholds, config.short_baseline)


def rewarded(
    models: Models, config: SearchConfig, state: SearchState, candidates: Sequence[Candidate], cost: CostMeter
) -> list[tuple[Candidate, Scored, Scored]]:
    """Candidates with what the frame reward says of their chunk and the clip reward of their window.

    Rewards that have not been asked about them are asked now. Both are NaN for candidates whose own numbers are not
    finite: no reward looks at them.
    """
    if not any(candidate.said for candidate in candidates):
        candidates = ask(models, config, state, candidates, cost)
    return [(one, *(one.said() if one.said else (NOTHING, NOTHING))) for one in candidates]


def finite(value: float) -> float | None:
    """The value, or None where it is not a finite number (JSON has no NaN)."""
    return value if math.isfinite(value) else None


def tell_scores(watcher: Watcher, candidate: Candidate, total: Score, route: Route | None) -> None:
    """The event of a candidate's scores, and a warning where it loses by them."""
    chunk, name = candidate.chunk.index, route.value if route else None
    if candidate.fault is None and not math.isfinite(total.fused):
        parts = {"frame": total.short, "clip": total.long}
        who = " and ".join(f"the {name} reward" for name, value in parts.items() if not math.isfinite(value))
        watcher.happened(Warned(f"{candidate.name} loses: {who} gave no finite number"))
    parts = {part: finite(value) for part, value in total.parts.items()}
    values = finite(total.short), finite(total.long), finite(total.fused)
    watcher.happened(CandidateScored(chunk, candidate.id, *values, parts, name))
