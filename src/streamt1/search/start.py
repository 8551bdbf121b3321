"""The state before the first chunk: one empty beam under a prompt."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models, first_steps
from streamt1.core.timeline import Timeline
from streamt1.search.archive import Archive, InMemory, Nowhere
from streamt1.search.candidate import Beam
from streamt1.search.config import SearchConfig, check_endless
from streamt1.search.cost import CostMeter
from streamt1.search.given import started
from streamt1.search.state import SearchState
from streamt1.search.switch import check_scenes
from streamt1.search.watcher import Watcher
from streamt1.search.width import check_budget
from streamt1.trace.events import RunStarted


def start(
    models: Models,
    config: SearchConfig,
    prompt: str | Timeline,
    chunks: int | None = None,
    seed: int = 0,
    watcher: Watcher = Watcher(),
    archive: Archive | None = None,
    given: Tensor | None = None,
) -> SearchState:
    """Encodes the prompt, once for the whole run.

    Args:
        prompt: or scenes, which have their own lengths.
        chunks: length of a video of one prompt, with what is given; None for one without an end.
        archive: keeps what settles; by default in memory, and nowhere for a video without an end.
        given: clean latents ``[F, C, H, W]`` that the video begins with, see ``search.given``.

    Raises:
        ConfigError: the backbone cannot begin with what is given, ``chunks`` is below 1, a budget that does not buy one
            sample, scenes for a model of one prompt, a draft decoder where the official way of decoding is asked for,
            or a setting that a video without an end cannot have.
        PromptError: the backbone cannot use the prompt.
    """
    if isinstance(prompt, str) and chunks is not None and chunks < 1:
        raise ConfigError(f"chunks={chunks} must be at least 1")
    timeline = Timeline.plain(prompt, chunks) if isinstance(prompt, str) else prompt
    cost = CostMeter()
    with cost.spend("text"):
        begun = started(models, timeline.scenes[0].prompt, timeline.chunks, given)
    try:
        announce(models, config, timeline, seed, watcher, len(begun.chunks))
    except BaseException:
        models.backbone.release(begun.branch)
        raise
    beam = Beam(begun.branch, models.scoring_decoder.start())
    kept = archive or (Nowhere() if timeline.chunks is None else InMemory())
    display = models.decoder.start()
    return SearchState(timeline, seed, (beam,), archive=kept, display=display, cost=cost.total, given=begun.chunks)


def announce(
    models: Models, config: SearchConfig, timeline: Timeline, seed: int, watcher: Watcher, given: int = 0
) -> None:
    """Looks whether a search can be made at all, and tells that it begins. Raises ``ConfigError`` as ``start`` does.

    ``given``: how many of the first chunks are.
    """
    prompt, chunks = timeline.scenes[0].prompt, timeline.chunks
    if chunks is None:
        check_endless(config)
    if models.draft is not None and config.decode == "official":
        raise ConfigError("decode=official repeats the published code, which has no draft decoder; use only one")
    backbone, decoder = models.backbone, models.decoder
    check_scenes(models, timeline)
    check_budget(config.budget_passes, models, timeline, given)
    most = max(backbone.steps, first_steps(backbone))
    if config.preview_step is not None and config.preview_step >= most:
        raise ConfigError(
            f"preview_step={config.preview_step} leaves nothing to save: this model denoises in {most} steps"
        )
    settings = dataclasses.asdict(config)
    frames = backbone.chunk_shape[0]
    scenes = [[first, scene.prompt] for first, scene in zip(timeline.starts, timeline.scenes)]
    told = scenes if len(scenes) > 1 else None
    clock = decoder.fps, settings, decoder.time_stride
    watcher.happened(RunStarted(prompt, seed, chunks, frames, *clock, told, given))
