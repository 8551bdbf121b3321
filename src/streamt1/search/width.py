"""How many candidates a chunk gets: the same or fewer towards the end, more where the rewards spread, and never beyond
a budget."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models, first_steps
from streamt1.core.timeline import Timeline
from streamt1.search.config import SearchConfig

MOST = 2.0
"""An adaptive chunk gets at most so many times the usual width."""


@dataclass(frozen=True)
class Spending:
    """What a run has used so far.

    Attributes:
        passes: model passes.
        seconds: wall-clock.
        candidates: proposed so far.
        spreads: standard deviation of the fused scores of each scored chunk, in order.
    """

    passes: int = 0
    seconds: float = 0.0
    candidates: int = 0
    spreads: Sequence[float] = ()


def usual_widths(chunks: int, width: int, taper: float = 0.0) -> list[int]:
    """Candidates of each chunk before rewards and budgets are asked; about ``chunks * width`` in all, one or more each.

    What a chunk gets wrong, all that follow inherit: the width is in proportion to (chunks still to come, this one
    included) ** ``taper``. 0 is the same for all, the paper's.
    """
    weights = [float(left) ** taper for left in range(chunks, 0, -1)]
    whole = sum(weights)
    until = [round(width * chunks * part / whole) for part in accumulate(weights, initial=0.0)]
    return [max(1, end - begin) for begin, end in pairwise(until)]


def widest(search: SearchConfig, lengths: Sequence[int] = ()) -> int:
    """The most candidates that a chunk may get, of scenes of so many chunks, or of whatever length."""
    most = search.beam_size * search.top_k
    if search.keeps_all:
        return most
    tapered = max(
        (max(usual_widths(length, most, search.taper)) for length in lengths),
        default=math.ceil(most * (1 + search.taper)),
    )
    return math.ceil(MOST * tapered) if search.adaptive > 0 else tapered


def candidates_for(
    usual: Sequence[int],
    spending: Spending,
    steps: tuple[int, int],
    adaptive: float = 0.0,
    budget_passes: int | None = None,
    budget_seconds: float | None = None,
) -> int:
    """How many candidates the next chunk gets, over all beams; at least one.

    Adaptive: the usual width times (last spread / mean spread so far) ** ``adaptive``, so that chunks whose scores
    agree get few and those that disagree get many; the mean stays about the usual one.

    Args:
        usual: ``usual_widths`` of the chunks still to come, the next one first.
        steps: model passes of one candidate of the next chunk, and of one of a later chunk.
        budget_passes, budget_seconds: for the whole run; every later chunk keeps enough for one candidate.
    """
    wanted, chunks_left = float(usual[0]), len(usual)
    spread = [value for value in spending.spreads if math.isfinite(value)]
    if adaptive > 0 and len(spread) > 1 and sum(spread) > 0:
        wanted *= (spread[-1] * len(spread) / sum(spread)) ** adaptive
    count = min(max(1, round(wanted)), math.ceil(MOST * usual[0]))
    if budget_passes is not None:
        own, later = (passes + 1 for passes in steps)
        spare = budget_passes - spending.passes - own - (chunks_left - 1) * later
        # the first candidate is in the reserve; each further one may survive, which costs a context pass
        count = min(count, 1 + max(0, spare // own))
        part = usual[0] / sum(usual) * (MOST if adaptive > 0 else 1.0)
        count = min(count, 1 + max(0, math.floor(spare * part / own)))
    if budget_seconds is not None and spending.candidates:
        each = spending.seconds / spending.candidates
        count = min(count, max(1, math.floor((budget_seconds - spending.seconds - (chunks_left - 1) * each) / each)))
    return count


def with_spread(spreads: tuple[float, ...], fused: Sequence[float]) -> tuple[float, ...]:
    """Spreads of the scored chunks, one chunk more: the standard deviation of its finite fused scores.

    One candidate alone tells nothing; its chunk counts as an average one, so that widths recover. A chunk that was not
    scored adds none.
    """
    known = [value for value in fused if math.isfinite(value)]
    if len(known) > 1:
        return (*spreads, statistics.pstdev(known))
    return (*spreads, statistics.fmean(spreads)) if fused and spreads else spreads


def shares(total: int, beams: int) -> list[int]:
    """Candidates of each beam, best beam first: equal, and the better ones get what is left over."""
    return [total // beams + (rank < total % beams) for rank in range(beams)]


def switch_passes(models: Models, timeline: Timeline, scene: int, beams: int) -> int:
    """The most that the beginnings of a timeline's scenes will take, from this one on; the video's first takes none."""
    later = timeline.scenes[max(scene, 1) :]
    return beams * sum(models.backbone.switch_passes(one.memory) for one in later)


def check_budget(budget_passes: int | None, models: Models, timeline: Timeline, given: int = 0) -> None:
    """Raises ``ConfigError`` for a budget that buys not even one sample; the first ``given`` chunks are not made."""
    if budget_passes is None:
        return
    chunks, first = timeline.chunks or 1, first_steps(models.backbone)
    least = given + first + (chunks - given - 1) * (models.backbone.steps + 1) + switch_passes(models, timeline, 1, 1)
    if budget_passes < least:
        raise ConfigError(f"a budget of {budget_passes} model passes buys no {chunks} chunks: one sample takes {least}")
