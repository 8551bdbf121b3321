"""The Python API in one call."""

from __future__ import annotations

from typing import Any

from streamt1.assemble.config import load_config
from streamt1.assemble.pipeline import Pipeline
from streamt1.assemble.run import Run


def generate(
    prompt: str,
    *,
    preset: str = "pocket",
    seconds: float | None = None,
    chunks: int | None = None,
    policy: str | None = None,
    seed: int = 0,
    **settings: Any,
) -> Run:
    """Generates one video; the models are loaded for this call (``Pipeline`` keeps them).

    Args:
        prompt: what the video should show.
        preset: a preset's name, or the path of a YAML file.
        seconds, chunks: length; 5 seconds where neither is given.
        policy: ``greedy``, ``best_of_n``, ``beam`` or ``stream_t1``.
        seed: the same seed gives the same video.
        settings: search settings, such as ``top_k=4`` (see ``SearchConfig``), or ``device`` and ``dtype``.

    Raises:
        StreamT1Error: one of its kinds; the message says what to change.

    >>> run = generate("a red circle bouncing on a navy striped background", chunks=1)
    >>> tuple(run.frames.shape)
    (9, 3, 64, 64)
    """
    overrides = {key if key in ("device", "dtype") else f"search.{key}": value for key, value in settings.items()}
    if policy is not None:
        overrides["policy"] = policy
    pipeline = Pipeline(load_config(preset, overrides))
    length = chunks if chunks is not None else pipeline.chunks_for(5.0 if seconds is None else seconds)
    return pipeline.run(prompt, length, seed)
