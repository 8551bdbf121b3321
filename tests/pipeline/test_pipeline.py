"""Runs on the bundled model through the Python API."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import streamt1
from streamt1 import ConfigError, Pipeline, PromptError, load_config
from streamt1.trace.events import CandidateProposed, CandidateScored, MemoryChanged

PROMPT = "a purple square sliding on a gray plain background"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(load_config("pocket"))


def test_lengths(pipeline: Pipeline) -> None:
    """81 frames are 5 s and 477 are 30 s at 16 frames per second (SPEC section 1)."""
    assert [pipeline.chunks_for(seconds) for seconds in (0.5625, 1, 5, 30)] == [1, 2, 7, 40]
    for seconds in (0.5, 0, -1, float("inf")):
        with pytest.raises(ConfigError, match="one chunk"):
            pipeline.chunks_for(seconds)


def test_the_same_seed_gives_the_same_bytes_in_a_fresh_pipeline(pipeline: Pipeline) -> None:
    first = pipeline.run(PROMPT, 4, seed=5)
    again = Pipeline(load_config("pocket")).run(PROMPT, 4, seed=5)
    assert torch.equal(first.result.latents, again.result.latents)
    assert torch.equal(first.frames, again.frames)
    assert first.frames.shape == (45, 3, 64, 64)
    assert first.frames.min() >= 0
    assert first.frames.max() <= 1


@pytest.mark.parametrize("batch", [1, 3])
def test_survivors_do_not_depend_on_the_batch_of_candidates(pipeline: Pipeline, batch: int) -> None:
    whole = pipeline.run(PROMPT, 5, seed=1)
    parts = Pipeline(load_config("pocket", {"search.candidate_batch": batch})).run(PROMPT, 5, seed=1)
    assert [beam.lineage for beam in whole.result.beams] == [beam.lineage for beam in parts.result.beams]
    assert torch.allclose(whole.result.latents, parts.result.latents, atol=1e-3)


def test_compiling_without_a_compiler_says_so_before_anything_runs(tmp_path: Path) -> None:
    run = "from streamt1 import Pipeline, load_config; Pipeline(load_config('pocket', {'compile': True}))"
    missing = {**os.environ, "CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", run], env=missing, capture_output=True, text=True)
    assert "ConfigError: compile: true does not work here" in done.stderr


def test_a_run_holds_no_memory_when_it_ends(pipeline: Pipeline) -> None:
    pipeline.run(PROMPT, 6, seed=2)
    with pytest.raises(PromptError, match="'dragon'"):
        pipeline.run("a red dragon", 2)
    backbone = pipeline.models.backbone
    assert backbone.memory.pool.live == 0  # pyright: ignore[reportAttributeAccessIssue]


def test_a_run_shows_every_candidate_and_what_memory_held(pipeline: Pipeline) -> None:
    """The bundled model holds 1 sink chunk and 3 chunks of window, the current one included: chunk 3 evicts chunk 1."""
    run = pipeline.run(PROMPT, 5, seed=2)
    assert sorted(run.thumbnails) == list(range(5 * 4))
    for picture in run.thumbnails.values():
        assert len(picture) < 4000
        assert Image.open(io.BytesIO(picture)).size == (64, 64)
    changes = [stamped.event for stamped in run.trace if isinstance(stamped.event, MemoryChanged)]
    assert len(changes) == 4 * 2
    last = changes[-1]
    assert (last.chunk, last.left, last.window) == (3, 1, [2, 3])
    assert last.sinks[0] == 0
    routes = {e.event.candidate: e.event.route for e in run.trace if isinstance(e.event, CandidateScored)}
    parents = {e.event.candidate: e.event.parent for e in run.trace if isinstance(e.event, CandidateProposed)}
    leaving = parents[parents[last.candidate] or 0]
    assert last.route == routes[leaving or 0]
    assert last.slot == (None if last.outcome == "discard" else len(last.sinks) - 1)


@pytest.mark.parametrize("policy", ["greedy", "best_of_n", "beam", "stream_t1"])
def test_every_policy_runs_over_the_same_models(pipeline: Pipeline, policy: str) -> None:
    run = pipeline.run(PROMPT, 2, policy=policy)
    assert run.config.policy == policy
    assert len(run.frames) == 21


@pytest.mark.parametrize("preset", ["paper", "official", "pocket-base", "pocket-euler"])
def test_every_preset_runs(preset: str) -> None:
    run = streamt1.generate(PROMPT, preset=preset, chunks=5)
    assert len(run.frames) == 57
    assert run.frames.std() > 0.02


def test_the_api_writes_what_the_command_line_writes(tmp_path: Path) -> None:
    run = streamt1.generate(PROMPT, chunks=1, policy="beam", top_k=1, beam_size=3, dtype="bfloat16")
    assert run.config.dtype == "bfloat16"
    assert run.result.cost.model_passes == 3 * 4
    run.save(tmp_path)
    names = ["latents.safetensors", "run.json", "sheet.png", "thumbnails.jsonl", "trace.jsonl", "video.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
