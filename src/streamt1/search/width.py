"""How many candidates a chunk gets: always the same, more where the rewards spread, and never beyond a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streamt1.core.errors import ConfigError

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


def candidates_for(
    chunks_left: int,
    usual: int,
    spending: Spending,
    passes_each: int,
    adaptive: float = 0.0,
    budget_passes: int | None = None,
    budget_seconds: float | None = None,
) -> int:
    """How many candidates the next chunk gets, over all beams; at least one.

    Adaptive: the usual width times (last spread / mean spread so far) ** ``adaptive``, so that chunks whose scores
    agree get few and those that disagree get many; the mean stays about the usual one.

    Args:
        chunks_left: chunks still to come, the next one included.
        usual: ``beam_size * top_k``.
        passes_each: model passes of one candidate.
        budget_passes, budget_seconds: for the whole run; every later chunk keeps enough for one candidate.
    """
    wanted = float(usual)
    spread = [value for value in spending.spreads if math.isfinite(value)]
    if adaptive > 0 and len(spread) > 1 and sum(spread) > 0:
        wanted *= (spread[-1] * len(spread) / sum(spread)) ** adaptive
    count = min(max(1, round(wanted)), math.ceil(MOST * usual))
    if budget_passes is not None:
        spare = budget_passes - spending.passes - chunks_left * (passes_each + 1)
        # the first candidate is in the reserve; each further one may survive, which costs a context pass
        count = min(count, 1 + max(0, spare // (passes_each + 1)))
        count = min(count, 1 + max(0, _even(spare, chunks_left, passes_each, adaptive)))
    if budget_seconds is not None and spending.candidates:
        each = spending.seconds / spending.candidates
        count = min(count, max(1, math.floor((budget_seconds - spending.seconds - (chunks_left - 1) * each) / each)))
    return count


def _even(spare: int, chunks_left: int, passes_each: int, adaptive: float) -> int:
    """Candidates beyond the first that an even share of the spare passes buys; twice that where widths adapt."""
    return math.floor(spare * (MOST if adaptive > 0 else 1.0) / chunks_left / (passes_each + 1))


def shares(total: int, beams: int) -> list[int]:
    """Candidates of each beam, best beam first: equal, and the better ones get what is left over."""
    return [total // beams + (rank < total % beams) for rank in range(beams)]


def check_budget(budget_passes: int | None, chunks: int, passes_each: int) -> None:
    """Raises ``ConfigError`` for a budget that does not even buy one sample."""
    least = chunks * (passes_each + 1) - 1
    if budget_passes is not None and budget_passes < least:
        raise ConfigError(f"a budget of {budget_passes} model passes buys no {chunks} chunks: one sample takes {least}")
