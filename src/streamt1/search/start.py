"""The state before the first chunk: one empty beam under a prompt."""

from __future__ import annotations

import dataclasses

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.state import Beam, SearchState
from streamt1.search.watcher import Watcher
from streamt1.search.width import check_budget
from streamt1.trace.events import RunStarted


def start(
    models: Models, config: SearchConfig, prompt: str, chunks: int, seed: int = 0, watcher: Watcher = Watcher()
) -> SearchState:
    """Encodes the prompt, once for the whole run.

    Raises:
        ConfigError: ``chunks`` is below 1, a budget that does not buy one sample, or a draft decoder where the official
            way of decoding is asked for.
        PromptError: the backbone cannot use the prompt.
    """
    if chunks < 1:
        raise ConfigError(f"chunks={chunks} must be at least 1")
    if models.draft is not None and config.decode == "official":
        raise ConfigError("decode=official repeats the published code, which has no draft decoder; use only one")
    backbone, decoder, cost = models.backbone, models.decoder, CostMeter()
    check_budget(config.budget_passes, chunks, backbone.steps)
    if config.preview_step is not None and config.preview_step >= backbone.steps:
        raise ConfigError(
            f"preview_step={config.preview_step} leaves nothing to save: this model denoises in {backbone.steps} steps"
        )
    settings = dataclasses.asdict(config)
    frames = backbone.chunk_shape[0]
    watcher.happened(RunStarted(prompt, seed, chunks, frames, decoder.fps, settings, decoder.time_stride))
    with cost.spend("text"):
        branch = backbone.start(prompt)
    beam = Beam(branch, models.scoring_decoder.start())
    return SearchState(prompt, chunks, seed, (beam,), display=decoder.start(), cost=cost.total)
