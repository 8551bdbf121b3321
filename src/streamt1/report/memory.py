"""The memory of the chosen video: a row for each chunk, with what it could read while it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal

from streamt1.core.words import counted, nth
from streamt1.report.story import Story
from streamt1.report.words import ROUTES, listed, named
from streamt1.trace.events import MemoryChanged, MemorySwitched

Kind = Literal["sink", "appended", "window", "own", "discard", "ema"]


@dataclass(frozen=True)
class Cell:
    """One chunk in one row.

    Attributes:
        column: the chunk.
        kind: how it is remembered; ``discard`` and ``ema`` mark a chunk that has just left.
        blended: for sinks, how many chunks have been blended into it so far.
        fresh: for sinks, whether the last of them, or itself, has just come.
        text: the scene under whose prompt its keys and values were written, counted from 1; None for one prompt.
        told: where there are scenes, what is remembered, and how it was written.
        foreign: whether that prompt is another than the row's.
        again: whether they were written again when that scene began.
        recalled: for sinks, whether it is read again since its scene has returned.
    """

    column: int
    kind: Kind
    blended: int = 0
    fresh: bool = False
    text: int | None = None
    told: str = ""
    foreign: bool = False
    again: bool = False
    recalled: bool = False


@dataclass(frozen=True)
class Row:
    """What chunk ``chunk`` read, and the same in words."""

    chunk: int
    cells: tuple[Cell, ...]
    words: str


@dataclass(frozen=True)
class Block:
    """The rows of a scene, in a picture of so many columns."""

    scene: int
    columns: int
    rows: tuple[Row, ...]


@dataclass
class _Pages:
    """What has become of pages so far.

    Attributes:
        scenes: the scene that each chunk was made in; empty for one prompt.
        prompts: of all scenes.
        texts: the scene under whose prompt a chunk's page was written, where it is another by now.
        blended: the chunks that were blended into each sink, as the scenes under which they were written.
        appended: sinks that were appended.
        latest: the sink that was appended or blended into last, if the last commit did so.
        recalled: the sink that is read again since its scene has returned, if one is.
    """

    scenes: Sequence[int]
    prompts: Sequence[str]
    texts: dict[int, int] = field(default_factory=dict)
    blended: dict[int, list[int]] = field(default_factory=dict)
    appended: set[int] = field(default_factory=set)
    latest: int | None = None
    recalled: int | None = None

    def text(self, chunk: int) -> int:
        """The scene under whose prompt a chunk's page was written; 0 for one prompt."""
        return self.texts.get(chunk, self.scenes[chunk] if self.scenes else 0)

    def see(self, memory: MemoryChanged) -> None:
        """Takes the next commit."""
        self.latest = memory.sinks[memory.slot] if memory.slot is not None else None
        if memory.recalled is not None:
            self.recalled = memory.recalled
        if self.latest is not None and memory.outcome == "ema":
            self.blended.setdefault(self.latest, []).append(self.text(memory.left or 0))
        elif self.latest is not None:
            self.appended.add(self.latest)

    def switch(self, memory: MemoryChanged, switch: MemorySwitched) -> MemoryChanged:
        """Takes a switch, and says what memory holds behind it, in terms of the commit before it.

        Where sinks were written again, they hold no blends, and what had left last leaves once more.
        """
        self.texts |= dict.fromkeys(switch.rewritten, self.scenes[switch.chunk])
        self.recalled = switch.recalled
        if switch.recalled is not None:  # it was put aside when it was made
            self.texts.pop(switch.recalled, None)
            self.blended.pop(switch.recalled, None)
        after = replace(memory, sinks=switch.sinks, window=switch.window, recalled=switch.recalled)
        sinks = own_sinks(switch)
        if not sinks and not switch.window:
            after = replace(after, left=None, route=None, outcome=None, slot=None)
        if switch.rewritten and set(sinks) <= set(switch.rewritten):
            self.blended.clear()
            self.appended.clear()
            if after.left in sinks:
                after = replace(after, outcome="append", slot=sinks.index(after.left))
            elif after.outcome == "ema":
                after = replace(after, slot=len(sinks) - 1)
            self.see(after)
        return after


def memory_rows(story: Story) -> list[Row]:
    """Row by row; empty where the trace does not tell what memory held."""
    if not story.memory:
        return []
    rows, pages = [], _Pages(story.scene_numbers, [prompt for _, prompt in story.beginnings])
    for chunk in range(len(story.chunks)):
        before, switch = story.memory.get(chunk - 1), story.switches.get(chunk)
        if before:
            pages.see(before)
        if switch:
            before = pages.switch(before or MemoryChanged(chunk - 1, switch.candidate, [], []), switch)
        rows.append(_row(chunk, before, pages))
    return rows


def own_sinks(switch: MemorySwitched) -> list[int]:
    """The sinks that are there without a scene that returns."""
    return [sink for sink in switch.sinks if sink != switch.recalled]


def by_scene(rows: Sequence[Row], numbers: Sequence[int], folded: bool) -> list[Block]:
    """The rows of a timeline, scene by scene.

    Args:
        numbers: the scene of each chunk.
        folded: leaves out the columns of chunks that the rows of a scene do not show, but for one in their place.
    """
    blocks = []
    for scene, group in groupby(rows, lambda row: numbers[row.chunk]):
        alike = tuple(group)
        blocks.append(_folded(scene, alike) if folded else Block(scene, len(rows), alike))
    return blocks


def _folded(scene: int, rows: tuple[Row, ...]) -> Block:
    shown = sorted({cell.column for row in rows for cell in row.cells})
    places: dict[int, int] = {}
    for before, column in zip((shown[0], *shown), shown):
        places[column] = max(places.values(), default=-1) + 1 + (column - before > 1)
    moved = (replace(row, cells=tuple(replace(one, column=places[one.column]) for one in row.cells)) for row in rows)
    return Block(scene, places[shown[-1]] + 1, tuple(moved))


def _row(chunk: int, memory: MemoryChanged | None, pages: _Pages) -> Row:
    if memory is None:
        words = f"{_made(chunk, pages)} begins the video; it has nothing to read."
        return Row(chunk, (_own(chunk, pages),), words)
    cells = [
        Cell(one, "appended" if one in pages.appended else "sink", len(pages.blended.get(one, ())), one == pages.latest)
        for one in memory.sinks
    ]
    cells += [Cell(one, "window") for one in memory.window]
    if pages.scenes:
        cells = [_written(cell, chunk, pages) for cell in cells]
    if memory.left not in (None, memory.recalled) and memory.outcome in ("discard", "ema"):
        cells.append(Cell(memory.left, "discard" if memory.outcome == "discard" else "ema"))
    return Row(chunk, (*cells, _own(chunk, pages)), _words(chunk, memory, pages))


def _own(chunk: int, pages: _Pages) -> Cell:
    if not pages.scenes:
        return Cell(chunk, "own")
    scene = pages.scenes[chunk]
    return Cell(chunk, "own", text=scene, told=f"chunk {nth(chunk)}, made under scene {scene}")


def _written(cell: Cell, chunk: int, pages: _Pages) -> Cell:
    """A remembered chunk with the text that its page was written under."""
    one, text, back = cell.column, pages.text(cell.column), cell.column == pages.recalled
    noun = "recent chunk" if cell.kind == "window" else "recalled chunk" if back else "sink"
    return replace(
        cell,
        text=text,
        told=f"{noun} {nth(one)}, {_how(one, pages)}",
        foreign=pages.prompts[text - 1] != pages.prompts[pages.scenes[chunk] - 1],
        again=one in pages.texts,
        recalled=back,
    )


def _words(chunk: int, memory: MemoryChanged, pages: _Pages) -> str:
    read = _read_under(chunk, memory, pages) if pages.scenes else _read(chunk, memory)
    if memory.left is None:
        return read
    fate = ROUTES.get(memory.outcome or "", "gone")
    if memory.outcome == "ema" and pages.latest is not None:
        count = counted(len(pages.blended.get(pages.latest, ())), "other chunk")
        fate = f"blended into sink {nth(pages.latest)} (EMA), which now holds a trace of {count}"
    if memory.left == memory.recalled:
        fate = ("" if memory.outcome == "discard" else f"{fate}, and ") + "read on, since its scene is back"
    elif memory.route != memory.outcome and memory.route:
        fate += f"; its label was {memory.route}, which memory could not follow"
    return f"{read} Chunk {nth(memory.left)} has left the window: {fate}."


def _read(chunk: int, memory: MemoryChanged) -> str:
    return f"Chunk {nth(chunk)} reads {_named('sink', memory.sinks)} and {_named('recent chunk', memory.window)}."


def _read_under(chunk: int, memory: MemoryChanged, pages: _Pages) -> str:
    """What was read, and under which scenes' texts it was written; neighbours of one text are named together."""
    read, hows = [], []
    sinks = [one for one in memory.sinks if one != pages.recalled]
    back = [one for one in memory.sinks if one == pages.recalled]
    for noun, chunks in (("sink", sinks), ("recalled chunk", back), ("recent chunk", memory.window)):
        for how, together in groupby(chunks, lambda one: _how(one, pages)):
            alike = list(together)
            read.append(named(noun, alike))
            hows.append(how)
    if not read:
        return f"{_made(chunk, pages)} finds an empty memory; it has nothing to read."
    if len(set(hows)) == 1:
        every = "all " if len(memory.sinks) + len(memory.window) > 1 else ""
        return f"{_made(chunk, pages)} reads {listed(read)}, {every}{hows[0]}."
    *first, last = (f"{one}, {how}" for one, how in zip(read, hows))
    return f"{_made(chunk, pages)} reads {', '.join(first)}, and {last}."


def _how(chunk: int, pages: _Pages) -> str:
    """How a chunk's page was written."""
    text = pages.text(chunk)
    how = f"{'rewritten' if chunk in pages.texts else 'written'} under scene {text}"
    others = sorted(set(pages.blended.get(chunk, ())) - {text})
    return f"{how} with blends of scene{'s' * (len(others) > 1)} {listed(others)}" if others else how


def _made(chunk: int, pages: _Pages) -> str:
    return f"Chunk {nth(chunk)}" + (f" (scene {pages.scenes[chunk]})" if pages.scenes else "")


def _named(noun: str, chunks: list[int]) -> str:
    if not chunks:
        return f"no {noun}s"
    return f"{noun}{'s' * (len(chunks) > 1)} {', '.join(str(nth(chunk)) for chunk in chunks)}"
