"""The memory of the chosen video: a row for each chunk, with what it could read while it was made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamt1.report.story import Story
from streamt1.trace.events import MemoryChanged

Kind = Literal["sink", "appended", "window", "own", "discard", "ema"]
FATES = {"discard": "dropped", "ema": "blended into a sink (EMA)", "append": "kept as a sink of its own"}


@dataclass(frozen=True)
class Cell:
    """One chunk in one row.

    Attributes:
        column: the chunk.
        kind: how it is remembered; ``discard`` and ``ema`` mark a chunk that has just left.
        blended: for sinks, how many chunks have been blended into it so far.
        fresh: for sinks, whether the last of them, or itself, has just come.
    """

    column: int
    kind: Kind
    blended: int = 0
    fresh: bool = False


@dataclass(frozen=True)
class Row:
    """What chunk ``chunk`` read, and the same in words."""

    chunk: int
    cells: tuple[Cell, ...]
    words: str


@dataclass
class _Sinks:
    """What has become of sinks so far: how many chunks were blended into each, and which were appended."""

    blended: dict[int, int] = field(default_factory=dict)
    appended: set[int] = field(default_factory=set)
    latest: int | None = None

    def see(self, memory: MemoryChanged) -> None:
        """Takes the next commit."""
        self.latest = memory.sinks[memory.slot] if memory.slot is not None else None
        if self.latest is not None and memory.outcome == "ema":
            self.blended[self.latest] = self.blended.get(self.latest, 0) + 1
        elif self.latest is not None:
            self.appended.add(self.latest)


def memory_rows(story: Story) -> list[Row]:
    """Row by row; empty where the trace does not tell what memory held."""
    if not story.memory:
        return []
    rows, sinks = [], _Sinks()
    for chunk in range(len(story.chunks)):
        before = story.memory.get(chunk - 1)
        if before:
            sinks.see(before)
        rows.append(_row(chunk, before, sinks))
    return rows


def _row(chunk: int, memory: MemoryChanged | None, sinks: _Sinks) -> Row:
    if memory is None:
        return Row(chunk, (Cell(chunk, "own"),), f"Chunk {chunk} begins the video; it has nothing to read.")
    cells = [
        Cell(one, "appended" if one in sinks.appended else "sink", sinks.blended.get(one, 0), one == sinks.latest)
        for one in memory.sinks
    ]
    cells += [Cell(one, "window") for one in memory.window]
    if memory.left is not None and memory.outcome in ("discard", "ema"):
        cells.append(Cell(memory.left, "discard" if memory.outcome == "discard" else "ema"))
    return Row(chunk, (*cells, Cell(chunk, "own")), _words(chunk, memory, sinks))


def _words(chunk: int, memory: MemoryChanged, sinks: _Sinks) -> str:
    read = f"Chunk {chunk} reads {_named('sink', memory.sinks)} and {_named('recent chunk', memory.window)}."
    if memory.left is None:
        return read
    fate = FATES.get(memory.outcome or "", "gone")
    if memory.outcome == "ema" and sinks.latest is not None:
        count = _count(sinks.blended.get(sinks.latest, 0), "other chunk")
        fate = f"blended into sink {sinks.latest} (EMA), which now holds a trace of {count}"
    if memory.route != memory.outcome and memory.route:
        fate += f"; its label was {memory.route}, which memory could not follow"
    return f"{read} Chunk {memory.left} has left the window: {fate}."


def _named(noun: str, chunks: list[int]) -> str:
    if not chunks:
        return f"no {noun}s"
    return f"{noun}{'s' * (len(chunks) > 1)} {', '.join(map(str, chunks))}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
