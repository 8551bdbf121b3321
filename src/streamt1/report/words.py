"""The page's words: numbers, and sentences about a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamt1.core.words import nth
from streamt1.report.story import Node, Story

POLICIES = {
    "stream_t1": "Stream-T1",
    "beam": "Beam search",
    "best_of_n": "Best of n",
    "best_of_n_per_scene": "Best of n per scene",
    "greedy": "One plain sample",
}
SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ROUTES = {"discard": "dropped", "ema": "blended into a sink (EMA)", "append": "kept as a sink of its own"}


def number(value: float | None, digits: int = 2) -> str:
    """A score with its sign, a true minus, and a dash where there is none."""
    if value is None:
        return "\N{EM DASH}"
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def ordinal(rank: int) -> str:
    """``best``, ``second best`` and so on, for a rank that counts from 0."""
    names = ("best", "second best", "third best", "fourth best")
    return names[rank] if rank < len(names) else f"number {rank + 1}"


def spelled(count: int, noun: str) -> str:
    """``four candidates``; a figure from thirteen on."""
    return f"{SMALL[count] if count < len(SMALL) else count} {noun}{'s' * (count != 1)}"


def listed(words: Iterable[object]) -> str:
    """``1, 2 and 3``."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def named(noun: str, chunks: Sequence[int]) -> str:
    """``chunk 1``, ``chunks 1 and 2``; at least one."""
    return f"{noun}{'s' * (len(chunks) > 1)} {listed(map(nth, chunks))}"


def said(node: Node, scene: int | None = None) -> str:
    """A candidate in one sentence, for those who cannot see it.

    Args:
        scene: the number of its scene, where there are several.
    """
    fate = "pruned"
    if node.rank is not None:
        fate = f"survived as {ordinal(node.rank)}" + (", in the video" if node.status == "chosen" else "")
    where = f"Chunk {nth(node.chunk)}" + (f" of scene {scene}" if scene is not None else "")
    parts = [f"{where}, candidate {node.id}, {fate}"]
    if node.parent is not None:
        parts.append(f"from candidate {node.parent}")
    if node.fused is not None:
        parts.append(f"short {number(node.short)}, long {number(node.long)}, fused {number(node.fused)}")
    if node.route:
        parts.append(f"to be {ROUTES.get(node.route, node.route)}")
    return "; ".join(parts)


def deck(story: Story) -> str:
    """The search in two sentences."""
    chunks, tried, scenes = len(story.chunks), len(story.nodes), len(story.beginnings)
    if tried == chunks:
        length = spelled(chunks, "chunk") + (f" and {spelled(scenes, 'scene')}" if scenes else "")
        return f"One sample, {length} long. Nothing was searched: this is what the model does alone."
    kept = max((node.rank or 0) + 1 for node in story.nodes)
    widths = {len(chunk) for chunk in story.chunks[story.started.given :]}
    width, most = max(widths), "up to " if len(widths) > 1 else ""
    each = "at each chunk" if scenes else "at each"
    rule = f"{each}, {most}{spelled(width, 'candidate')} and {spelled(kept, 'survivor')}"
    if story.config.get("pruning") == "final":
        rule = f"{spelled(width, 'video')} side by side, judged once at the end"
    if story.config.get("pruning") == "scene":
        rule = f"{spelled(width, 'take')} of each scene side by side, judged once at its end"
    begins = f"{spelled(scenes, 'scene')}, " if scenes else ""
    sentence = f"{begins}{spelled(chunks, 'chunk')}; {rule}. Of {tried} candidates, {chunks} became the video."
    return sentence[0].upper() + sentence[1:]


def waited(story: Story) -> str:
    """How soon chunks were final, in a sentence; nothing where the trace does not tell, or where nothing competed."""
    if not story.waits or len(story.judged) < 2:
        return ""
    at_once, longest = story.waits.count(0), max(story.waits)
    first = f"{spelled(at_once, 'chunk')} of {len(story.waits)} could be shown as soon as made"
    if longest:
        first += f"; the one that waited longest, until {spelled(longest, 'more chunk')} had been made"
    return f"A chunk is final when all survivors share it. {first[0].upper()}{first[1:]}."


def facts(story: Story, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what a reader asks first."""
    config, started = summary.get("config") or {}, story.started
    rows = [("policy", POLICIES.get(config.get("policy", ""), "")), ("model", str(config.get("backbone", "")))]
    if summary.get("frames"):
        rows.append(("length", f"{summary['frames'] / started.fps:.1f} s, {summary['frames']} frames"))
    if started.given:
        rows.append(("given", "the first chunk" if started.given == 1 else f"the first {started.given} chunks"))
    if summary.get("size"):
        size = summary["size"]
        rows.append(("size", f"{size['width']}\N{MULTIPLICATION SIGN}{size['height']}"))
    rows.append(("seed", str(started.seed)))
    return [(name, value) for name, value in rows if value]
