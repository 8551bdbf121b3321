"""The scenes of a timeline: which chunks and seconds each has, and what its beginning did to memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from streamt1.core.words import counted, nth
from streamt1.report.memory import own_sinks
from streamt1.report.story import Story
from streamt1.report.words import named
from streamt1.trace.events import MemorySwitched, SceneStarted

DONE = {"keep": "memory kept", "recache": "memory rewritten", "cut": "memory emptied"}


@dataclass(frozen=True)
class Scene:
    """A scene, as the page tells it.

    Attributes:
        number: counted from 1.
        first, last: chunks.
        begin, end: seconds; None where the trace is too old to tell.
        did: what its beginning did to memory, in two or three words; empty for the first and where it is not known.
        told: the same in sentences.
    """

    number: int
    prompt: str
    first: int
    last: int
    begin: float | None
    end: float | None
    did: str = ""
    told: str = ""


def tell_scenes(story: Story, starts: Sequence[float]) -> list[Scene]:
    """The scenes of a timeline; none for one prompt.

    Args:
        starts: when each chunk begins, and when the video ends; empty where that is not known.
    """
    bounds = [*(first for first, _ in story.beginnings), len(story.chunks)]
    scenes = []
    for number, ((_, prompt), (first, after)) in enumerate(zip(story.beginnings, pairwise(bounds)), 1):
        times = (starts[first], starts[after]) if starts else (None, None)
        did = _did(story.scenes[number - 2], story.switches.get(first)) if number > 1 else ""
        told = _told(_sinks_before(story, first), story.switches.get(first))
        scenes.append(Scene(number, prompt, first, after - 1, *times, did, told))
    return scenes


def _sinks_before(story: Story, chunk: int) -> list[int]:
    """The sinks of the commit before a chunk, without one that was recalled for the scene that ends."""
    held = story.memory.get(chunk - 1)
    recalled = [switch.recalled for begun, switch in sorted(story.switches.items()) if begun < chunk][-1:]
    return [sink for sink in held.sinks if sink not in (*recalled, held.recalled)] if held else []


def labelled(story: Story, most: int) -> set[int]:
    """Numbers of the scenes whose labels have room on an axis that ``most`` labels fill, first to last."""
    shown: set[int] = set()
    free = 0.0
    for number, (first, _) in enumerate(story.beginnings, 1):
        if first >= free:
            shown.add(number)
            free = first + len(story.chunks) / most
    return shown


def _did(started: SceneStarted, switch: MemorySwitched | None) -> str:
    if switch is None:
        return DONE.get(started.memory or "", "")
    did = DONE["keep"] if own_sinks(switch) or switch.window else DONE["cut"]
    if switch.rewritten:
        did = f"{counted(len(switch.rewritten), 'page')} rewritten"
    return did if switch.recalled is None else f"{did}, 1 recalled"


def _told(before: list[int], switch: MemorySwitched | None) -> str:
    """What a switch did, in sentences; ``before`` are the sinks until then."""
    if switch is None:
        return ""
    told = _rewritten(before, switch)
    if not switch.rewritten:
        told = ["Pages kept their text." if own_sinks(switch) or switch.window else "Memory was emptied."]
    if switch.recalled is not None:
        told.append(f"Chunk {nth(switch.recalled)} is read again, since its scene returns.")
    return " ".join(told)


def _rewritten(before: list[int], switch: MemorySwitched) -> list[str]:
    again, passes, sinks = len(switch.rewritten), switch.passes, own_sinks(switch)
    told = [
        f"{counted(again, 'page')} {'were' if again > 1 else 'was'} written again under it"
        f" ({passes}\N{NO-BREAK SPACE}pass{'es' * (passes != 1)})."
    ]
    kept = [sink for sink in sinks if sink not in switch.rewritten]
    if kept:
        told.append(f"{named('Sink', kept)} kept {'their' if len(kept) > 1 else 'its'} text.")
    if before and sinks and before != sinks:
        told.append(f"{named('Chunk', sinks)} took the place of {named('sink', before)}.")
    return told
