"""Draw: all randomness of a chunk, from a generator of each candidate's own. Models get tensors (SPEC section 3)."""

from __future__ import annotations

import torch

from streamt1.core.protocols import Models
from streamt1.core.seeds import generator
from streamt1.search.candidate import Beam, Draw
from streamt1.search.config import SearchConfig
from streamt1.search.noise_propagation import candidate_seed, propagate
from streamt1.search.state import SearchState
from streamt1.search.width import shares


def draw(models: Models, config: SearchConfig, state: SearchState, total: int) -> list[Draw]:
    """What ``total`` candidates of the next chunk will be made of, those of the best beam first."""
    widths = shares(total, len(state.beams))
    return [
        _of_candidate(models, config, state, beam, rank, index)
        for rank, (beam, width) in enumerate(zip(state.beams, widths))
        for index in range(width)
    ]


def _of_candidate(models: Models, config: SearchConfig, state: SearchState, beam: Beam, rank: int, index: int) -> Draw:
    """The generator draws the initial noise, then the noise between the steps: the official order."""
    last, shape = beam.last, models.backbone.chunk_shape
    parent_seed, parent_noise = (last.seed, last.noise) if last else (None, None)
    seed = candidate_seed(config.seeds, state.seed, state.chunk, rank, index, parent_seed)
    own = generator(seed)
    noise = torch.randn(shape, generator=own)
    fresh = noise.new_empty(models.backbone.draws, *shape)
    for step in fresh:
        torch.randn(shape, generator=own, out=step)
    if config.propagation:
        noise = propagate(noise, parent_noise, config.noise_strength)
    return Draw(beam, rank, state.chunk, seed, noise, fresh)
