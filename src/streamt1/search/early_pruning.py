"""Early pruning: candidates are scored by a preview of their chunk, and the worst are not denoised to their end.

The preview is the clean chunk that the model predicts after its first steps; it is decoded and scored as the chunk
itself will be. What is dropped saves its remaining steps; what goes on is scored again when it is done. All candidates
of a chunk are ranked together, in however many batches they are denoised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from streamt1.core.protocols import Models
from streamt1.search.candidate import Candidate
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.reward_pruning import prune
from streamt1.search.score import fused_scores
from streamt1.search.state import SearchState

PREVIEW = -1
"""Where the ids of previews begin: they are no candidates, and nobody hears of them."""


def early_prune(
    models: Models, config: SearchConfig, state: SearchState, previews: Sequence[Candidate], cost: CostMeter
) -> list[int]:
    """Rows of the candidates that are denoised to their end, in rising order, by previews of them.

    Raises:
        RewardError: no preview's score is finite.
    """
    return going_on(fused_scores(models, config, state, previews, cost), config.preview_keep)


def going_on(fused: Sequence[float], keep: float) -> list[int]:
    """The rows of the best scores, in rising order: this share of them (above 0, at most 1), rounded up."""
    return sorted(prune(fused, math.ceil(keep * len(fused))))
