"""Whole searches of the official code: seeds, noise, scores, flags, survivors, and the chosen video."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.core.types import Route
from streamt1.memory import Branch, MemoryConfig
from streamt1.search.choose import Result
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from streamt1.trace.events import (
    CandidateProposed,
    CandidatePruned,
    CandidateScored,
    ChunkCommitted,
    Event,
)
from tests.parity.goldens import GoldenSet, golden_sets
from tests.search.toy import Seen

TOLERANCE = 1e-4
ROUTE_CODES = {Route.DISCARD: 0, Route.EMA: 1, Route.APPEND: 2}
SEARCHES = [(path, file.name) for path in golden_sets() for file in sorted(path.glob("search_*.npz"))]


class Made(NamedTuple):
    """What a trace does not hold of a candidate: the memory that it read, its initial noise and its latents."""

    memory: Branch
    rules: MemoryConfig
    noise: Tensor
    latents: Tensor


def search_config(run: dict[str, Any]) -> SearchConfig:
    return SearchConfig(
        beam_size=run["beam_size"],
        top_k=run["top_k"],
        noise_strength=run["noise_fusion_sigma"],
        window=run["sliding_window_size"],
        fusion_cap=run["short_score_fusion_threshold"],
        short_threshold=run["short_threshold"],
        long_threshold=run["long_threshold"],
        short_baseline="all",
        seeds="official",
    )


@pytest.fixture(scope="module", params=SEARCHES, ids=[f"{path.name}/{name}" for path, name in SEARCHES])
def search(request: pytest.FixtureRequest) -> tuple[dict[str, np.ndarray], Result, list[Event], list[Made]]:
    path, name = request.param
    golden = GoldenSet(path)
    stored, run = golden.arrays(name), golden.manifest["search_runs"][name]
    text = torch.from_numpy(golden.arrays("dit_rollout.npz")["text_emb"])
    trace: list[Event] = []
    made: list[Made] = []
    engine = RecordingEngine(golden, text, search_config(run), trace, made)
    result = engine.run("", run["chunks"], run["base_seed"])
    return stored, result, trace, made


class RecordingEngine(Engine):
    """Keeps the noise and latents of every candidate, which a trace does not hold."""

    def __init__(
        self, golden: GoldenSet, text: Tensor, config: SearchConfig, trace: list[Event], made: list[Made]
    ) -> None:
        models = golden.models(text)
        backbone: Any = models.backbone
        denoise = backbone.denoise

        def recorded(parents, x, noise, steps):
            latents, clean = denoise(parents, x, noise, steps)
            made.extend(Made(parent.memory, golden.memory, *one) for parent, *one in zip(parents, x, latents))
            return latents, clean

        backbone.denoise = recorded
        seen = Seen()
        seen.events = trace
        super().__init__(models, config, seen)


def events_of(trace: list[Event], kind: type) -> list[Any]:
    return [event for event in trace if isinstance(event, kind)]


def test_candidates_parents_and_seeds(search) -> None:
    stored, _, trace, _ = search
    proposed = events_of(trace, CandidateProposed)
    assert [e.candidate for e in proposed] == list(range(len(stored["chunk"])))
    for name in ("chunk", "seed"):
        assert [getattr(e, name) for e in proposed] == stored[name].tolist()
    assert [-1 if e.parent is None else e.parent for e in proposed] == stored["parent"].tolist()
    assert [e.beam if e.chunk else -1 for e in proposed] == stored["parent_beam"].tolist()


def test_initial_noise_is_bit_identical_and_latents_agree(search) -> None:
    stored, _, _, made = search
    for i, (_, _, noise, latents) in enumerate(made):
        np.testing.assert_array_equal(noise.flatten()[:8].numpy(), stored["noise_first8"][i])
        np.testing.assert_allclose(statistics(noise), stored["noise_stats"][i], rtol=1e-9)
        np.testing.assert_allclose(latents.flatten()[:8].numpy(), stored["x0_first8"][i], rtol=0, atol=TOLERANCE)
        assert abs(latents.double().std().item() - stored["x0_stats"][i][2]) < TOLERANCE


def statistics(values: Tensor) -> list[float]:
    wide = values.double()
    return [wide.sum().item(), wide.abs().sum().item(), wide.std().item()]


def test_scores(search) -> None:
    stored, _, trace, _ = search
    scored = events_of(trace, CandidateScored)
    for ours, official in (("short", "short"), ("long", "long"), ("fused", "hybrid")):
        np.testing.assert_allclose([getattr(e, ours) for e in scored], stored[official], rtol=0, atol=TOLERANCE)


def test_flags(search) -> None:
    stored, _, trace, _ = search
    scored = events_of(trace, CandidateScored)
    assert [e.route == Route.EMA.value for e in scored] == stored["ema"].astype(bool).tolist()
    assert [e.route == Route.APPEND.value for e in scored] == stored["append"].astype(bool).tolist()
    assert [e.candidate for e in scored if e.route is None] == np.flatnonzero(stored["chunk"] == 0).tolist()


def test_routes_as_they_were_applied(search) -> None:
    stored, _, _, made = search
    for i, (memory, rules, _, latents) in enumerate(made):
        eviction = memory.eviction
        assert (eviction.start if eviction else -1) == stored["evicted_start"][i]
        full = eviction is not None and eviction.route is Route.APPEND and eviction.outcome is Route.EMA
        code = -1 if eviction is None else 3 if full else ROUTE_CODES[eviction.outcome]
        assert code == stored["route"][i]
        own = memory.chunks * len(latents) < rules.sink  # the first chunks are sinks once they are written
        assert (len(memory.sinks) + own) * len(latents) == stored["sink_frames"][i]


def test_survivors_best_first(search) -> None:
    stored, _, trace, _ = search
    survivors: dict[int, list[int]] = {}
    for event in events_of(trace, ChunkCommitted):
        survivors.setdefault(event.chunk, []).append(event.candidate)
    assert list(survivors.values()) == stored["survivors"].tolist()
    pruned = {event.candidate for event in events_of(trace, CandidatePruned)}
    assert pruned == set(range(len(stored["chunk"]))) - set(stored["survivors"].flatten().tolist())


def test_the_chosen_video(search) -> None:
    stored, result, _, _ = search
    np.testing.assert_allclose(result.final, stored["final_long"], rtol=0, atol=TOLERANCE)
    assert result.beams.index(result.beam) == stored["chosen_beam"]
    best = torch.cat([chunk.latents for chunk in result.beams[0].chunks])
    np.testing.assert_allclose(best.numpy(), stored["best_output"], rtol=0, atol=TOLERANCE)
