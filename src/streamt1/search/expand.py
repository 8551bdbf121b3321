"""Expand: every beam's candidates for the next chunk are drawn, denoised and decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from streamt1.core.protocols import Backbone, DrawingBackbone, Models, steps_after
from streamt1.search.ask import ask
from streamt1.search.candidate import Candidate, Draw
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.decode import batches, check_count, decode, filled
from streamt1.search.draw import draw
from streamt1.search.early_pruning import PREVIEW, early_prune
from streamt1.search.given import next_given
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.search.width import Spending, candidates_for, switch_passes, usual_widths
from streamt1.trace.events import CandidateProposed, ChunkStarted, Warned

LARGEST = 50.0
"""Latents are normalised to about unit variance; ten times what ever occurs is no video any more."""


def expand(
    models: Models, config: SearchConfig, state: SearchState, watcher: Watcher, cost: CostMeter
) -> list[Candidate]:
    """The candidates of the next chunk, those of the best beam first."""
    given = next_given(state)
    total = width(models, config, state) if given is None else 1
    watcher.happened(ChunkStarted(state.chunk, [beam.lineage[-1] for beam in state.beams if beam.lineage], total))
    draws = draw(models, config, state, total)
    candidates = (
        _made(models, config, state, draws, cost)
        if given is None
        else decode(models, config, draws, given[None].float(), state.proposed, "decode", cost)
    )
    for candidate in candidates:
        parent = candidate.parent.lineage[-1] if candidate.parent.lineage else None
        made = candidate.chunk
        watcher.happened(CandidateProposed(state.chunk, candidate.id, parent, candidate.rank, made.seed))
        watcher.proposed(candidate.id, made.frames)
        if models.checked:
            _warn_of(candidate, watcher)
    return candidates


def _made(
    models: Models, config: SearchConfig, state: SearchState, draws: Sequence[Draw], cost: CostMeter
) -> list[Candidate]:
    """The candidates that are denoised to their end."""
    x, steps = torch.stack([draw.noise for draw in draws]), range(steps_after(models.backbone, draws[0].parent.branch))
    if config.preview_step is not None and config.preview_step < len(steps):
        look, steps = steps[: config.preview_step], steps[config.preview_step :]
        x, previews = _grown(models, config, state, draws, x, look, PREVIEW, cost)
        kept = early_prune(models, config, state, previews, cost)
        draws, x = [draws[row] for row in kept], x[kept]
        del previews
    return _grown(models, config, state, draws, x, steps, state.proposed, cost)[1]


def _warn_of(candidate: Candidate, watcher: Watcher) -> None:
    """Says what is wrong with a candidate's numbers, if anything."""
    if candidate.fault is not None:
        watcher.happened(Warned(f"{candidate.name} loses: the {candidate.fault} made numbers that are not finite"))
        return
    largest = candidate.chunk.latents.abs().max().item()
    if largest > LARGEST:
        told = f"has latents of up to {largest:.3g}; decoders are made for about 5, so its pixels mean little"
        watcher.happened(Warned(f"{candidate.name} {told}"))


def width(models: Models, config: SearchConfig, state: SearchState) -> int:
    """Candidates of the next chunk, over all beams."""
    most = config.beam_size * config.top_k
    if config.keeps_all:
        most = _samples(models, config, state, most)
        config = dataclasses.replace(config, taper=0.0, adaptive=0.0, budget_passes=None)
    usual = [most] if state.chunks is None else _usual(config, state, most)
    spreads = state.spreads[state.spreads_before :]
    spending = Spending(state.cost.model_passes, state.cost.seconds["total"], state.proposed, spreads)
    passes = config.budget_passes
    if passes is not None:
        passes -= switch_passes(models, state.timeline, state.scene + 1, config.top_k)
    steps = steps_after(models.backbone, state.beams[0].branch), models.backbone.steps
    return candidates_for(usual, spending, steps, config.adaptive, passes, config.budget_seconds)


def _samples(models: Models, config: SearchConfig, state: SearchState, most: int) -> int:
    """How many videos there are, or samples of a scene, that are judged at their end.

    Under a budget of passes as many as it pays to their end are begun, and none is given up. What a second buys is
    known too late for that: where time runs short some are given up, and none takes their place.
    """
    if state.chunks is None or (config.budget_passes is None and config.budget_seconds is None):
        return most
    by_scene, chunks = config.pruning == "scene", state.chunks - state.chunk
    if state.chunk > len(state.given) and not (by_scene and state.begins_scene):
        return len(state.beams)
    if config.budget_passes is None:
        return most
    first, later = steps_after(models.backbone, state.beams[0].branch) + 1, models.backbone.steps + 1
    left = config.budget_passes - state.cost.model_passes
    switches = switch_passes(models, state.timeline, state.scene + 1, 1)
    if not by_scene:
        return max(1, min(most, left // (first + (chunks - 1) * later + switches)))
    own = (state.scene_chunks or chunks) - state.in_scene
    each, left = first + (own - 1) * later, left - switches
    fair, spare = left * own // chunks, left - (chunks - own) * later
    return max(1, min(most, spare // each, max(1, fair // each)))


def _usual(config: SearchConfig, state: SearchState, most: int) -> list[int]:
    """Widths of the chunks that are left, scene by scene."""
    lengths = [scene.chunks or 1 for scene in state.timeline.scenes[state.scene :]]
    return [width for length in lengths for width in usual_widths(length, most, config.taper)][state.in_scene :]


def _grown(
    models: Models,
    config: SearchConfig,
    state: SearchState,
    draws: Sequence[Draw],
    x: Tensor,
    steps: range,
    first: int,
    cost: CostMeter,
) -> tuple[Tensor, list[Candidate]]:
    """All draws some denoising steps further, ``[N, F, C, H, W]``, and candidates of the chunks that these predict.

    Where the rewards are elsewhere (``Models.group``), they look at one group while the next is denoised and decoded.

    Args:
        first: id of the first candidate; ``PREVIEW`` where they are previews.
    """
    preview, size = first == PREVIEW, models.group or len(draws)
    early = models.group is not None and (preview or config.scores_chunks)
    further, made = list[Tensor](), list[Candidate]()
    for begin in range(0, len(draws), size):
        own = draws[begin : begin + size]
        noisy, clean = _stepped(models, config, own, x[begin : begin + size], steps, cost)
        shown, kind = (clean, "preview") if preview else (noisy, "decode")
        group = decode(models, config, own, shown, first + begin, kind, cost)
        further.append(noisy)
        made += ask(models, config, state, group, cost) if early else group
    return torch.cat(further), filled(made)


def _stepped(
    models: Models, config: SearchConfig, draws: Sequence[Draw], x: Tensor, steps: range, cost: CostMeter
) -> tuple[Tensor, Tensor]:
    """Some denoising steps of all candidates, batch by batch: see ``Backbone.denoise``."""
    made = []
    for rows in batches(models, config, len(draws)):
        own = draws[rows]
        with cost.spend("model", model_passes=len(own) * len(steps)):
            made.append(_denoised(models.backbone, own, x[rows], steps))
        check_count("the backbone", len(made[-1][0]), len(own))
    noisy, clean = zip(*made)
    return torch.cat(noisy), torch.cat(clean)


def _denoised(backbone: Backbone, draws: Sequence[Draw], x: Tensor, steps: range) -> tuple[Tensor, Tensor]:
    parents = [draw.parent.branch for draw in draws]
    if isinstance(backbone, DrawingBackbone):
        return backbone.denoise_drawn(parents, x, [draw.seed for draw in draws], steps)
    return backbone.denoise(parents, x, torch.stack([draw.fresh for draw in draws]), steps)
