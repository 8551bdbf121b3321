"""A finished run, and what it leaves on disk."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save
from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.files import whole_file, write_whole
from streamt1.core.frames import floats
from streamt1.core.identity import raw_bytes
from streamt1.core.types import Chunk
from streamt1.media.mp4 import VideoWriter, write_video
from streamt1.media.pixels import beside, contact_sheet, labelled, shown
from streamt1.pipeline.asked import Asked, circumstances
from streamt1.pipeline.given import Given, write_given
from streamt1.pipeline.run_files import (
    BASELINE,
    COMPARISON,
    LATENTS_KEPT,
    SHEET,
    THUMBNAILS,
    TRACE,
    VIDEO,
    write_summary,
)
from streamt1.search.choose import Result
from streamt1.search.score import finite
from streamt1.trace.store import Stamped, write_thumbnails, write_trace

BLOCK = 48
"""Frames of two videos that are put side by side at once."""


class Recorded(Protocol):
    """What was noted of a run besides its video."""

    @property
    def trace(self) -> tuple[Stamped, ...]:
        """Every event with its time."""
        ...

    @property
    def thumbnails(self) -> Mapping[int, bytes]:
        """A small WebP picture of every candidate, by its id."""
        ...


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        prompt: of the first scene; ``result.timeline`` has all.
        seed: the run's seed; with the same configuration it gives the same video.
        recorded: in memory, or read from the run's folder whenever it is asked for.
        folder: where the run was written as it happened; None for one in memory.
        given: what the video begins with; None where it begins with text alone.
    """

    prompt: str
    seed: int
    config: RunConfig
    result: Result
    recorded: Recorded
    folder: Path | None = None
    given: Given | None = None

    @property
    def trace(self) -> tuple[Stamped, ...]:
        """Every event with its time."""
        return self.recorded.trace

    @property
    def thumbnails(self) -> Mapping[int, bytes]:
        """A small WebP picture of every candidate, by its id."""
        return self.recorded.thumbnails

    @property
    def frames(self) -> Tensor:
        """The video, ``[T, 3, H, W]``, floats in 0..1; made anew, at four times the memory, of ``pixels`` in bytes."""
        return floats(self.result.frames)

    @property
    def pixels(self) -> Tensor:
        """The video ``[T, 3, H, W]`` as the decoder made it, uint8 in 0..255 or floats in 0..1; not a copy."""
        return self.result.frames

    def save(self, folder: str | Path) -> Path:
        """Writes ``video.mp4``, ``sheet.png``, ``latents.safetensors``, ``trace.jsonl``, ``thumbnails.jsonl``,
        ``run.json``; returns the folder.

        Each file appears whole or not at all. A run that was given a folder from the start needs no saving.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        folder = Path(folder)
        write_video(folder / VIDEO, shown(self.pixels), self.result.fps)
        write_sheet(folder / SHEET, self)
        write_latents(folder, self)
        write_trace(folder / TRACE, self.trace)
        write_thumbnails(folder / THUMBNAILS, self.thumbnails)
        if self.given is not None:
            write_given(folder, self.given)
        whole = {"state": "finished", **self.summary(), **circumstances(self.config)}
        write_summary(folder, whole)
        return folder

    def summary(self, frames: int | None = None) -> dict[str, Any]:
        """What ``run.json`` holds of the run: what was asked for, the outcome, its cost, and digests of the numbers.

        Args:
            frames: of the video, where it had no end.
        """
        endless = self.result.endless
        chunks = None if endless else len(self.result.beam.chunks)
        asked = Asked(self.prompt, self.seed, chunks, self.config, self.result.timeline, self.given)
        return {
            **asked.record(),
            "frames": len(self.pixels) if frames is None else frames,
            "fps": self.result.fps,
            "size": {"height": self.pixels.shape[-2], "width": self.pixels.shape[-1]},
            "outcome": _outcome(self.result),
            "cost": self.result.cost.record(),
            "digests": None if endless else {"latents": digest(self.result.latents), "frames": digest(self.pixels)},
        }


def digest(rows: Tensor) -> str:
    """SHA-256 of a tensor's numbers, read row by row."""
    whole = hashlib.sha256(str((tuple(rows.shape), rows.dtype)).encode())
    for row in rows:
        whole.update(raw_bytes(row))
    return whole.hexdigest()


def write_comparison(run: Run, baseline: Run, folder: Path) -> None:
    """Both runs in one ``sheet.png``, and last, side by side as ``compare.mp4``. Raises ``OutputError``."""
    write_sheet(folder / SHEET, baseline, run)
    names = _label(baseline), _label(run)
    length = min(len(one.pixels) for one in (baseline, run))
    with whole_file(folder / COMPARISON) as part:
        writer = VideoWriter(part, run.result.fps)
        for begin in range(0, length, BLOCK):
            left, right = (
                labelled(shown(one.pixels[begin : begin + BLOCK]), name) for one, name in zip((baseline, run), names)
            )
            writer.add(beside(left, right))
        writer.close()


def save_comparison(run: Run, baseline: Run, folder: Path) -> Path:
    """Writes both runs (the baseline into a folder of its own), and both side by side; for runs in memory."""
    baseline.save(folder / BASELINE)
    run.save(folder)
    write_comparison(run, baseline, folder)
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
    names = {"greedy": "one sample", "stream_t1": "Stream-T1", "beam": "beam search"}
    return names.get(run.config.policy, run.config.policy.replace("_", " "))


def write_latents(folder: Path, run: Run) -> None:
    """The video's latents, with which a later run goes on; those of a video without an end are not known any more.

    Raises ``OutputError``.
    """
    if not run.result.endless:
        write_whole(folder / LATENTS_KEPT, save({"latents": run.result.latents.cpu().contiguous()}))


def write_sheet(path: Path, *runs: Run) -> None:
    """Some frames of each run, a row each. Raises ``OutputError``."""
    buffer = io.BytesIO()
    contact_sheet([(_label(run), run.pixels) for run in runs]).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())
