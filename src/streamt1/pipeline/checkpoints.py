"""A run's checkpoints on disk: a line at every chunk boundary, and a file with its survivors' latents and noise."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.files import write_whole
from streamt1.core.json_text import parse_json
from streamt1.core.jsonl import GrowingLines, whole_lines
from streamt1.pipeline.run_files import BOUNDARIES
from streamt1.search.checkpoint import Boundary
from streamt1.search.state import SearchState


@dataclass(frozen=True)
class Stored:
    """One boundary on disk.

    Attributes:
        ends: file name -> its size in bytes at this boundary, of files that grow with the run.
        crc32: of the file with the survivors' tensors.
        line_end: bytes of the file of boundaries up to here.
    """

    boundary: Boundary
    ends: Mapping[str, int]
    crc32: int
    line_end: int


class Checkpoints:
    """Writes boundaries behind those that are there.

    Args:
        folder: of the checkpoint.
        stored: what ``stored_boundaries`` found there, or the beginning of it; the rest is dropped.

    Raises:
        OutputError: the folder cannot be written; every method may.
    """

    def __init__(self, folder: Path, stored: Sequence[Stored] = ()) -> None:
        self.folder = folder
        self._lines = GrowingLines(folder / BOUNDARIES, stored[-1].line_end if stored else 0)
        self._spreads = sum(one.boundary.spread is not None for one in stored)

    def add(self, state: SearchState, ends: Mapping[str, int]) -> None:
        """The state is on the disk when this returns. ``ends``: see ``Stored``."""
        boundary = Boundary.of(state, self._spreads)
        tensors: dict[str, Tensor] = {}
        for beam in state.beams:
            assert beam.last is not None
            tensors[f"latents.{beam.lineage[-1]}"] = beam.last.latents.detach().cpu().contiguous()
            tensors[f"noise.{beam.lineage[-1]}"] = beam.last.noise.detach().cpu().contiguous()
        content = save(tensors)
        write_whole(_tensors(self.folder, boundary.chunk), content, durable=True)
        told = {"ends": dict(ends), "crc32": zlib.crc32(content), **boundary.record()}
        self._lines.append(told, allow_nan=True)
        self._lines.sync()
        self._spreads += boundary.spread is not None

    def close(self) -> None:
        """Nothing can be added any more."""
        self._lines.close()


def stored_boundaries(folder: Path, root: Path) -> list[Stored]:
    """The boundaries of a checkpoint, as many as are whole, with all that belongs to them.

    Args:
        root: where the files are that grow with the run.
    """
    found: list[Stored] = []
    end = 0
    for line in whole_lines(folder / BOUNDARIES):
        end += len(line) + 1
        stored = _read(line, end)
        if stored is None or stored.boundary.chunk != len(found) + 1 or not _whole(stored, folder, root):
            break
        found.append(stored)
    return found


def load_latents(folder: Path, chunk: int, candidate: int) -> tuple[Tensor, Tensor]:
    """Clean latents and noise of a survivor of a chunk (index from 0). Raises ``CheckpointError``."""
    path = _tensors(folder, chunk + 1)
    try:
        tensors = load(path.read_bytes())
        return tensors[f"latents.{candidate}"], tensors[f"noise.{candidate}"]
    except Exception as error:  # of safetensors, or of the disk: the file was whole when the run was taken up
        raise CheckpointError(f"{path} has changed while the run was taken up ({error}); begin it anew") from error


def _read(line: bytes, end: int) -> Stored | None:
    try:
        told: dict[str, Any] = parse_json(line)
        ends = {str(name): int(size) for name, size in told["ends"].items()}
        return Stored(Boundary.read(told), ends, int(told["crc32"]), end)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _whole(stored: Stored, folder: Path, root: Path) -> bool:
    """Whether everything is there that a boundary speaks of: after a power cut some of it may not be."""
    try:
        grown = all((root / name).stat().st_size >= size for name, size in stored.ends.items())
        return grown and zlib.crc32(_tensors(folder, stored.boundary.chunk).read_bytes()) == stored.crc32
    except OSError:
        return False


def _tensors(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:06}.safetensors"
