"""Draw: all randomness of a chunk, from a generator of each candidate's own. Models get tensors (SPEC section 3)."""

from __future__ import annotations

from streamt1.core.protocols import DrawingBackbone, Models, draws_after
from streamt1.core.seeds import draw_noise
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
    """Noise between the steps is not drawn for a backbone that draws it itself."""
    last, backbone = beam.last, models.backbone
    parent_seed = last.seed if last else None
    parent_noise = last.noise if last and state.chunk > len(state.given) else None
    seed = candidate_seed(config.seeds, state.seed, state.chunk, rank, index, parent_seed)
    draws = 0 if isinstance(backbone, DrawingBackbone) else draws_after(backbone, beam.branch)
    noise, fresh = draw_noise(seed, backbone.chunk_shape, draws)
    if config.propagation:
        noise = propagate(noise, parent_noise, config.noise_strength)
    return Draw(beam, rank, state.chunk, seed, noise, fresh)
