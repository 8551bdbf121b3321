"""The Python API in two calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamt1.config.load import load_config
from streamt1.pipeline.given import check_beginning
from streamt1.pipeline.pipeline import Pipeline, Prompt
from streamt1.pipeline.run import Run
from streamt1.pipeline.stream import Stream


def stream(
    prompt: Prompt,
    *,
    preset: str = "pocket",
    seconds: float | None = None,
    chunks: int | None = None,
    policy: str | None = None,
    seed: int = 0,
    endless: bool = False,
    image: str | Path | None = None,
    video: str | Path | None = None,
    folder: str | Path | None = None,
    fresh: bool = False,
    **settings: Any,
) -> Stream:
    """Generates one video and gives its chunks away as they become final; the arguments are those of ``generate``.

    ``endless`` takes no length and goes on as long as the stream is read.

    >>> for chunk in stream("a red circle bouncing on a navy striped background", chunks=2):
    ...     print(chunk.index, tuple(chunk.frames.shape))
    0 (9, 3, 64, 64)
    1 (12, 3, 64, 64)
    """
    check_beginning(image, video)
    begins, kept = {"image": image, "video": video}, {"folder": folder, "fresh": fresh, "endless": endless}
    return _pipeline(preset, policy, settings).stream(prompt, chunks, seed, seconds=seconds, **begins, **kept)


def generate(
    prompt: Prompt,
    *,
    preset: str = "pocket",
    seconds: float | None = None,
    chunks: int | None = None,
    policy: str | None = None,
    seed: int = 0,
    image: str | Path | None = None,
    video: str | Path | None = None,
    folder: str | Path | None = None,
    fresh: bool = False,
    **settings: Any,
) -> Run:
    """Generates one video; the models are loaded for this call (``Pipeline`` keeps them).

    Args:
        prompt: what the video should show; or scenes, as ``[("a red circle ...", 5), ("a green star ...", 5)]`` with
            their seconds (see ``Pipeline.stream``).
        preset: a preset's name, or the path of a YAML file.
        seconds, chunks: length of what is made, in either unit; 5 seconds where neither is given.
        policy: ``greedy``, ``best_of_n``, ``best_of_n_per_scene``, ``beam`` or ``stream_t1``.
        seed: the same seed gives the same video.
        image: a picture that the video begins with.
        video: a video to go on from: the new one begins with its last frames.
        folder: where the run is written as it happens. One that is there already, unfinished, is gone on with.
        fresh: delete what an earlier run has left in the folder.
        settings: search settings, such as ``top_k=4`` (see ``SearchConfig``), or ``device`` and ``dtype``.

    Raises:
        StreamT1Error: one of its kinds; the message says what to change.

    >>> run = generate("a red circle bouncing on a navy striped background", chunks=1)
    >>> tuple(run.frames.shape)
    (9, 3, 64, 64)
    """
    check_beginning(image, video)
    begins, kept = {"image": image, "video": video}, {"folder": folder, "fresh": fresh}
    return _pipeline(preset, policy, settings).run(prompt, chunks, seed, seconds=seconds, **begins, **kept)


def _pipeline(preset: str, policy: str | None, settings: dict[str, Any]) -> Pipeline:
    overrides = {key if key in ("device", "dtype") else f"search.{key}": value for key, value in settings.items()}
    if policy is not None:
        overrides["policy"] = policy
    return Pipeline(load_config(preset, overrides))
