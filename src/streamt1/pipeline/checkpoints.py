"""A run's checkpoints on disk: a line at every chunk boundary, and a file with its survivors' latents and noise."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.files import read_or_none, write_whole
from streamt1.core.json_text import parse_json
from streamt1.core.jsonl import GrowingLines, whole_lines
from streamt1.pipeline.run_files import BOUNDARIES, THUMBNAILS, TRACE
from streamt1.search.checkpoint import Boundary
from streamt1.search.state import SearchState

GROW = (TRACE, THUMBNAILS)
"""Files beside a checkpoint that grow with the run."""
End = tuple[int, int]
"""Size and CRC-32."""


@dataclass(frozen=True)
class Stored:
    """One boundary on disk.

    Attributes:
        ends: file name -> its size in bytes at this boundary, and the CRC-32 of so much of it, of files that grow with
            the run.
        crc32: of the file with the survivors' tensors.
        line_end: bytes of the file of boundaries up to here.
    """

    boundary: Boundary
    ends: Mapping[str, End]
    crc32: int
    line_end: int


class Checkpoints:
    """Writes boundaries behind those that are there.

    Args:
        folder: of the checkpoint.
        run: whose checkpoint it is, see ``run_of``.
        stored: what ``stored_boundaries`` found there, or the beginning of it; the rest is dropped.

    Raises:
        OutputError: the folder cannot be written; every method may.
    """

    def __init__(self, folder: Path, run: str, stored: Sequence[Stored] = ()) -> None:
        self.folder, self._run = folder, run
        self._lines = GrowingLines(folder / BOUNDARIES, stored[-1].line_end if stored else 0)
        self._spreads = sum(one.boundary.spread is not None for one in stored)

    def add(self, state: SearchState, ends: Mapping[str, End]) -> None:
        """The state is on the disk when this returns. ``ends``: see ``Stored``."""
        boundary = Boundary.of(state, self._spreads)
        tensors: dict[str, Tensor] = {}
        for beam in state.beams:
            assert beam.last is not None
            tensors[f"latents.{beam.lineage[-1]}"] = beam.last.latents.detach().cpu().contiguous()
            tensors[f"noise.{beam.lineage[-1]}"] = beam.last.noise.detach().cpu().contiguous()
        content = save(tensors)
        write_whole(_tensors(self.folder, boundary.chunk), content, durable=True)
        told = {"run": self._run, "ends": dict(ends), "crc32": zlib.crc32(content), **boundary.record()}
        self._lines.append(told, allow_nan=True)
        self._lines.sync()
        self._spreads += boundary.spread is not None

    def go_on(self, state: SearchState) -> None:
        """The next boundary follows this state, wherever it came from."""
        self._spreads = len(state.spreads)

    def close(self) -> None:
        """Nothing can be added any more."""
        self._lines.close()


def run_of(record: Mapping[str, Any]) -> str:
    """A digest of what a run asked for."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def stored_boundaries(folder: Path, root: Path, run: str) -> tuple[list[Stored], str]:
    """The boundaries of a run's checkpoint, as many as are whole with all that belongs to them; and what is not.

    Args:
        root: where the files are that grow with the run.
        run: see ``run_of``.

    Returns:
        Also the first file that is damaged or missing; empty where none is.
    """
    found: list[Stored] = []
    end, grown = 0, {name: _Grown(root / name) for name in GROW}
    for line in whole_lines(folder / BOUNDARIES):
        end += len(line) + 1
        stored = _read(line, end, run)
        if stored is None or stored.boundary.chunk != len(found) + 1:
            return found, BOUNDARIES
        tensors = _tensors(folder, stored.boundary.chunk)
        if not _is_whole(tensors, stored.crc32):
            return found, tensors.name
        for name, told in stored.ends.items():
            if name not in grown or not grown[name].reaches(*told):
                return found, name
        found.append(stored)
    return found, ""


def boundary_of(folder: Path, root: Path, run: str, chunk: int) -> Stored | None:
    """One boundary of a run's checkpoint, whatever became of those before it and of its tensors; for a packet of it.

    Args:
        root, run: see ``stored_boundaries``.
        chunk: how many chunks were decided.

    Returns:
        None where it was not noted, or the files that grow with the run do not reach it.
    """
    end = 0
    for line in whole_lines(folder / BOUNDARIES):
        end += len(line) + 1
        stored = _read(line, end, run)
        if stored is not None and stored.boundary.chunk == chunk:
            whole = all(name in GROW and _Grown(root / name).reaches(*told) for name, told in stored.ends.items())
            return stored if whole else None
    return None


class _Grown:
    """A file that grew, read once from its beginning."""

    def __init__(self, path: Path) -> None:
        self._size, self._crc32 = 0, 0
        self._content = read_or_none(path) or b""

    def reaches(self, size: int, crc32: int) -> bool:
        """Whether so much of it is there, and what it was; sizes must not fall."""
        self._crc32 = zlib.crc32(memoryview(self._content)[self._size : size], self._crc32)
        self._size = max(size, self._size)
        return len(self._content) >= size == self._size and self._crc32 == crc32


def load_latents(folder: Path, chunk: int, candidate: int) -> tuple[Tensor, Tensor]:
    """Clean latents and noise of a survivor of a chunk (index from 0). Raises ``CheckpointError``."""
    path = _tensors(folder, chunk + 1)
    try:
        tensors = load(path.read_bytes())
        return tensors[f"latents.{candidate}"], tensors[f"noise.{candidate}"]
    except Exception as error:  # of safetensors, or of the disk: the file was whole when the run was taken up
        raise CheckpointError(f"{path} has changed while the run was taken up ({error}); begin it anew") from error


def _read(line: bytes, end: int, run: str) -> Stored | None:
    try:
        told: dict[str, Any] = parse_json(line)
        if told["run"] != run:
            return None
        ends = {str(name): (int(size), int(crc32)) for name, (size, crc32) in told["ends"].items()}
        return Stored(Boundary.read(told), ends, int(told["crc32"]), end)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_whole(path: Path, crc32: int) -> bool:
    content = read_or_none(path)
    return content is not None and zlib.crc32(content) == crc32


def _tensors(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:06}.safetensors"
