"""An archive on disk: settled chunks leave memory, and are mapped back when the video is judged and shown."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from streamt1.core.errors import CheckpointError, OutputError
from streamt1.core.files import writing
from streamt1.core.identity import raw_bytes
from streamt1.core.json_text import parse_json
from streamt1.core.jsonl import GrowingLines, whole_lines
from streamt1.core.remote import here
from streamt1.core.tensor_files import NAMES, TYPES
from streamt1.core.types import Chunk, Route, Score
from streamt1.pipeline.run_files import FRAMES, LATENTS, SETTLED, SHOWN

BLOCK = 2**24
"""Bytes that are read at once."""


class Rows:
    """Tensors of one type, joined along their first dimension in a file of raw numbers."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._file: BinaryIO | None = None
        self._like: Tensor | None = None

    def put(self, at: int, rows: Tensor) -> None:
        """Writes rows from row ``at`` on; what was there or behind is replaced. Raises ``OutputError``."""
        size = rows[0].numel() * rows.element_size()
        with writing(f"{self.path} (frames until the run ends)"):
            if self._file is None:
                self._file, self._like = self.path.open("w+b"), torch.empty(0, *rows.shape[1:], dtype=rows.dtype)
            self._file.truncate(at * size)
            self._file.seek(at * size)
            self._file.write(raw_bytes(rows))
            self._file.flush()
        self.count = at + len(rows)

    def told(self) -> dict[str, Any]:
        """What ``take_up`` needs. Raises ``OutputError``."""
        like = self._like
        if like is None:
            return {"rows": 0}
        shape = list(like.shape[1:])
        end = _end(self.path, self.count * math.prod(shape) * like.element_size())
        return {"rows": self.count, "shape": shape, "dtype": NAMES[like.dtype], "end": end}

    def take_up(self, told: Mapping[str, Any]) -> None:
        """Goes on with a file of an earlier process.

        Raises:
            CheckpointError: it is not what was told.
            KeyError, TypeError, ValueError: that is not what ``told`` gives.
        """
        self.count = int(told["rows"])
        if not self.count:
            return
        self._like = torch.empty(0, *map(int, told["shape"]), dtype=TYPES[told["dtype"]])
        _check(self.path, told["end"])
        with writing(self.path):
            self._file = self.path.open("r+b")

    def all(self) -> Tensor:
        """Everything, mapped: it is read as it is looked at, and stays readable when the file is deleted later.

        Raises ``OutputError`` where it is gone already.
        """
        if self._like is None:
            return torch.empty(0)
        shape = (self.count, *self._like.shape[1:])
        try:
            flat = torch.from_file(str(self.path), shared=False, size=math.prod(shape), dtype=self._like.dtype)
            return flat.view(shape)
        except RuntimeError as error:
            raise OutputError(f"cannot read {self.path}: it was deleted while the run wrote to it") from error

    def close(self) -> None:
        """Nothing can be added any more."""
        if self._file is not None:
            self._file.close()


class OnDisk:
    """Satisfies ``Archive`` in files of a folder, which are its own and of no use to anybody later.

    Args:
        drafted: whether people see other frames than the rewards.
        end: bytes of what an earlier process has told, to go on after.

    Raises:
        OutputError: the disk is full, or the folder is gone; every method may.
    """

    def __init__(self, folder: Path, drafted: bool = False, end: int = 0) -> None:
        self._frames = Rows(folder / FRAMES)
        self._shown = Rows(folder / SHOWN) if drafted else self._frames
        self._latents = Rows(folder / LATENTS)
        self._rows = {"frames": self._frames, "latents": self._latents, **({"shown": self._shown} if drafted else {})}
        self._told = GrowingLines(folder / SETTLED, end)
        self._until: list[int] = [0]
        self._ends: list[int] = [0]

    def keep(self, chunk: Chunk, shown: Tensor) -> None:
        """See ``Archive.keep``."""
        del self._until[chunk.index + 1 :]
        if chunk.index + 1 < len(self._ends):
            self._told.close()
            self._told = GrowingLines(self._told.path, self._ends[chunk.index])
            del self._ends[chunk.index + 1 :]
        begin, count = self._until[-1], len(chunk.latents)
        self._frames.put(begin, here(chunk.frames))
        if self._shown is not self._frames:
            self._shown.put(begin, shown)
        self._latents.put(2 * count * chunk.index, torch.cat([chunk.latents.cpu(), chunk.noise.cpu()]))
        score = chunk.score and {**vars(chunk.score)}
        told = {"index": chunk.index, "seed": chunk.seed, "score": score, "route": chunk.route}
        self._told.append(told, allow_nan=True)
        self._until.append(begin + len(shown))
        self._ends.append(self._told.size)

    def chunks(self) -> Sequence[Chunk]:
        """See ``Archive.chunks``; their tensors are mapped."""
        self._told.sync()
        frames, latents = self._frames.all(), self._latents.all()
        each = len(latents) // max(1, len(self._until) - 1)
        made = []
        for line, (begin, end) in zip(whole_lines(self._told.path), pairwise(self._until)):
            told = parse_json(line)
            index, score, route = told["index"], told["score"], told["route"]
            clean, noise = latents[index * each : (index + 1) * each].chunk(2)
            scored = None if score is None else Score(**score)
            labelled = None if route is None else Route(route)
            made.append(Chunk(index, told["seed"], noise, clean, frames[begin:end], scored, labelled))
        return made

    def shown(self) -> Tensor:
        """See ``Archive.shown``; mapped."""
        return self._shown.all()

    def told(self) -> dict[str, Any]:
        """What ``take_up`` needs to go on with these files in another process. Raises ``OutputError``."""
        self._told.sync()
        rows = {name: one.told() for name, one in self._rows.items()}
        return {"rows": rows, "until": self._until, "ends": self._ends, "told": [self._told.size, self._told.crc32]}

    @classmethod
    def take_up(cls, folder: Path, told: Mapping[str, Any]) -> OnDisk:
        """The archive of an earlier process, whose files are in a folder.

        Raises:
            CheckpointError: a file is not what was told.
            KeyError, TypeError, ValueError: that is not what ``told`` gives.
        """
        until, ends = ([int(one) for one in told[name]] for name in ("until", "ends"))
        _check(folder / SETTLED, told["told"])
        found = cls(folder, "shown" in told["rows"], int(told["told"][0]))
        found._until, found._ends = until, ends
        for name, one in found._rows.items():
            one.take_up(told["rows"][name])
        return found

    @property
    def until(self) -> Sequence[int]:
        """Where each chunk's frames begin among all, and where the last ones end."""
        return tuple(self._until)

    def close(self) -> None:
        """Lets go of the files; what was mapped stays readable."""
        for one in (self._frames, self._shown, self._latents, self._told):
            one.close()


def _end(path: Path, size: int) -> list[int]:
    """Of the first ``size`` bytes of a file: their number, or how many there are, and their CRC-32."""
    crc32, left = 0, size
    with writing(path), path.open("rb") as file:
        while left and (block := file.read(min(left, BLOCK))):
            crc32, left = zlib.crc32(block, crc32), left - len(block)
    return [size - left, crc32]


def _check(path: Path, end: Sequence[int]) -> None:
    """Raises ``CheckpointError`` where a file does not begin with what it had at this end."""
    if not path.is_file() or _end(path, int(end[0])) != list(end):
        raise CheckpointError(
            f"{path} is not what it was when the packet was made: copy the whole folder of the run again, or go on"
            " without the packet"
        )
