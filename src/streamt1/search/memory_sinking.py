"""Stream-Scaled Memory Sinking (paper section 3.4): rewards decide what becomes of a chunk that leaves the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from streamt1.core.types import Route, Score

ShortBaseline = Literal["window", "all"]


def decide_route(
    score: Score,
    past: Sequence[Score],
    window: int,
    short_threshold: float,
    long_threshold: float,
    baseline: ShortBaseline = "window",
) -> Route | None:
    """The route of a chunk, decided when it is scored and applied when it leaves the window.

    Good frames that continue the story are blended into the sink (EMA); good frames after a break of the story begin
    a new scene and become a sink of their own (APPEND); the rest is dropped.

    Args:
        score: of this chunk.
        past: scores of all chunks before it in its lineage, first to last; those that are not finite tell nothing.
        window: the long reward's sliding window in chunks, ``W``.
        short_threshold: by how much the short score must exceed the mean of the past to count as high.
        long_threshold: by how much the long score must fall to count as a break.
        baseline: mean over the last ``W - 1`` chunks, as the paper says, or over ``all``, as its code does.

    Returns:
        None for the first chunk, which is the first sink.
    """
    if not past:
        return None
    recent = past[-(window - 1) :] if baseline == "window" and window > 1 else past
    shorts = [one.short for one in recent if math.isfinite(one.short)]
    longs = [one.long for one in past if math.isfinite(one.long)]
    short_high = bool(shorts) and score.short - sum(shorts) / len(shorts) > short_threshold
    long_low = bool(longs) and longs[-1] - score.long > long_threshold
    if not short_high:
        return Route.DISCARD
    return Route.APPEND if long_low else Route.EMA
