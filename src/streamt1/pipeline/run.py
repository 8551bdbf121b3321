"""A finished run, and what it leaves on disk."""

from __future__ import annotations

import dataclasses
import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.files import write_whole
from streamt1.core.frames import floats
from streamt1.core.types import Chunk
from streamt1.media.mp4 import write_video
from streamt1.media.pixels import SHOWN_SIDE, beside, contact_sheet, enlarge, labelled, to_bytes
from streamt1.search.choose import Result
from streamt1.search.score import finite
from streamt1.trace.store import Stamped, write_thumbnails, write_trace


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        seed: the run's seed; with the same configuration it gives the same video.
        trace: every event with its time.
        thumbnails: a small WebP picture of every candidate, by its id.
    """

    prompt: str
    seed: int
    config: RunConfig
    result: Result
    trace: tuple[Stamped, ...]
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def frames(self) -> Tensor:
        """The video, ``[T, 3, H, W]``, floats in 0..1; made anew, at four times the memory, of ``pixels`` in bytes."""
        return floats(self.result.frames)

    @property
    def pixels(self) -> Tensor:
        """The video ``[T, 3, H, W]`` as the decoder made it, uint8 in 0..255 or floats in 0..1; not a copy."""
        return self.result.frames

    def save(self, folder: str | Path, video: bool = True) -> Path:
        """Writes ``video.mp4``, ``sheet.png``, ``trace.jsonl``, ``thumbnails.jsonl``, ``run.json``; returns the folder.

        Each file appears whole or not at all.

        Args:
            video: False where ``recording`` has written it already.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        folder = Path(folder)
        if video:
            write_video(folder / "video.mp4", to_bytes(enlarge(self.pixels, SHOWN_SIDE)), self.result.fps)
        _write_sheet(folder / "sheet.png", self)
        write_trace(folder / "trace.jsonl", self.trace)
        write_thumbnails(folder / "thumbnails.jsonl", self.thumbnails)
        write_whole(folder / "run.json", (json.dumps(self.summary(), indent=2) + "\n").encode())
        return folder

    def summary(self) -> dict[str, Any]:
        """What ``run.json`` holds: configuration, seed, versions, the outcome and its cost."""
        config = self.config.model_dump(mode="json")
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "chunks": len(self.result.beam.chunks),
            "frames": len(self.pixels),
            "fps": self.result.fps,
            "size": {"height": self.pixels.shape[-2], "width": self.pixels.shape[-1]},
            "config": {**config, "effective_search": dataclasses.asdict(self.config.effective_search)},
            "outcome": _outcome(self.result),
            "cost": self.result.cost.record(),
            "versions": {
                "streamt1": version("streamt1"),
                "torch": torch.__version__,
                "python": platform.python_version(),
                "machine": f"{platform.system()} {platform.machine()}",
            },
        }


def save_comparison(run: Run, baseline: Run, folder: Path, videos: bool = True) -> Path:
    """Writes both runs (the baseline into a folder of its own), and both side by side as ``compare.mp4``.

    ``videos`` is False where ``recording`` has written the runs' own.
    """
    baseline.save(folder / "baseline", videos)
    run.save(folder, videos)
    names = _label(baseline), _label(run)
    left, right = (
        labelled(to_bytes(enlarge(one.pixels, SHOWN_SIDE)), name) for one, name in zip((baseline, run), names)
    )
    write_video(folder / "compare.mp4", beside(left, right), run.result.fps)
    _write_sheet(folder / "sheet.png", baseline, run)
    return folder


def _outcome(result: Result) -> dict[str, Any]:
    """The chosen video's scores and routes, chunk by chunk."""
    finals = [finite(value) for value in result.final]
    return {
        "final_long": finals[result.beams.index(result.beam)],
        "final_long_of_all_beams": finals,
        "lineage": list(result.beam.lineage),
        "chunks": [_chunk_outcome(chunk) for chunk in result.beam.chunks],
    }


def _chunk_outcome(chunk: Chunk) -> dict[str, Any]:
    scores = {name: finite(getattr(chunk.score, name)) if chunk.score else None for name in ("short", "long", "fused")}
    return {"seed": chunk.seed, **scores, "route": chunk.route.value if chunk.route else None}


def _label(run: Run) -> str:
    names = {"greedy": "one sample", "stream_t1": "Stream-T1", "best_of_n": "best of n", "beam": "beam search"}
    return names.get(run.config.policy, run.config.policy)


def _write_sheet(path: Path, *runs: Run) -> None:
    buffer = io.BytesIO()
    contact_sheet([(_label(run), run.pixels) for run in runs]).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())
