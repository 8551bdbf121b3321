"""Do rewards on devices of their own make a search faster? Simulated, as ``devices`` does: in one run, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamt1.bench.devices import CANDIDATE, DECODED, RATE, Pacing, searched
from streamt1.bench.devices import computed as computed_alike
from streamt1.bench.sleepers import sleepers
from streamt1.bench.sleeping import CLIP, PASS, PICTURE, SHAPE, STEPS, STRIDE
from streamt1.bench.tally import KINDS
from streamt1.core.files import write_whole
from streamt1.search.config import SearchConfig


@dataclass(frozen=True)
class Setting:
    """One way to use some devices.

    Attributes:
        search: ``beam_size`` and ``top_k``.
        makers, scorers: devices that generate, and that hold the rewards alone; without any, all devices hold all.
        overlaps: whether one group is scored while the next is made; else all are made first.
        looks: frames of a chunk that the frame reward looks at; None is all.
    """

    search: tuple[int, int]
    makers: int
    scorers: int = 0
    overlaps: bool = True
    looks: int | None = None

    @property
    def candidates(self) -> int:
        return self.search[0] * self.search[1]

    def computed(self) -> float:
        """TFLOP of a chunk one after another, until the last device is done."""
        frames, survivors = SHAPE[0] * STRIDE, self.search[1]
        short = PICTURE * min(self.looks or frames, frames)
        if not self.scorers:
            less = -(-self.candidates // self.makers) * (PICTURE * frames - short)
            return computed_alike(self.candidates, survivors, self.makers) - less
        busy, clock, left = [0.0] * self.scorers, 0.0, self.candidates
        while left:
            group = min(self.makers if self.overlaps else self.candidates, left)
            left -= group
            clock += -(-group // self.makers) * (STEPS * PASS + DECODED)
            for work in [short] * group + [CLIP] * group:
                first = min(range(self.scorers), key=busy.__getitem__)
                busy[first] = max(busy[first], clock) + work
        return max(busy) + survivors * PASS + (survivors - survivors // self.makers) * DECODED


SETTINGS = (
    Setting((4, 2), 5),
    Setting((4, 2), 4, 1),
    Setting((4, 2), 3, 2),
    Setting((4, 4), 8),
    Setting((4, 4), 4, 4),
    Setting((4, 4), 4, 4, overlaps=False),
    Setting((4, 4), 5, looks=1),
    Setting((4, 4), 4, 1, looks=1),
    Setting((4, 4), 4, 1, overlaps=False, looks=1),
)


def measure(slow: float = 2.0, chunks: int = 3) -> dict[str, Any]:
    """Seconds a chunk of each setting, over processes on Ray; see ``devices.measure``."""
    with sleepers(max(one.makers + one.scorers for one in SETTINGS)) as links:
        return {"tflops_assumed": RATE, "slow": slow, **compared(links, slow, chunks)}


def compared(
    links: Sequence[Pacing], slow: float, chunks: int, settings: Sequence[Setting] = SETTINGS, **sizes: Any
) -> dict[str, Any]:
    """A row for each setting, and whether those of one search found the same survivors; see ``devices.scaling``."""
    rows, seen = list[dict[str, Any]](), dict[Any, list[Any]]()
    for one in settings:
        config = SearchConfig(beam_size=one.search[0], top_k=one.search[1], frames_scored=one.looks)
        own = links[: one.makers + one.scorers]
        group = one.candidates if one.scorers and not one.overlaps else None
        host, _, _ = searched(own, 0.0, config, chunks, sizes, one.scorers, group)
        seconds, travels, lineages = searched(own, slow / RATE, config, chunks, sizes, one.scorers, group)
        seen.setdefault((one.search, one.looks), []).append(lineages)
        rows.append({
            "search": "{}x{}".format(*one.search), "frames_scored": one.looks, "makers": one.makers,
            "scorers": one.scorers, "overlaps": bool(one.scorers) and one.overlaps, "seconds": seconds / slow,
            "computed_seconds": one.computed() / RATE, "host_seconds": host, "megabytes": travels,
        })  # fmt: skip
    same = all(one == found[0] for found in seen.values() for one in found)
    return {"same_survivors": same, "candidate_tflop": CANDIDATE, "rows": rows}


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows in Markdown."""
    head = ["search", "frames scored", "devices", "scoring", "s a chunk", "computed", "host alone, s"]
    lines = [head + [f"{kind}, MB" for kind in KINDS]]
    for row in rows:
        apart = f"{row['makers']} + {row['scorers']}" if row["scorers"] else f"{row['makers']} alike"
        how = ("beside the next group" if row["overlaps"] else "after all are made") if row["scorers"] else "where made"
        seconds = [f"{row[key]:.2f}" for key in ("seconds", "computed_seconds", "host_seconds")]
        looks = "all" if row["frames_scored"] is None else str(row["frames_scored"])
        lines.append([row["search"], looks, apart, how, *seconds, *(f"{row['megabytes'][kind]:.1f}" for kind in KINDS)])
    lines.insert(1, ["---"] * len(lines[0]))
    return [f"| {' | '.join(line)} |" for line in lines]


def write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """The numbers."""
    [found] = rows
    write_whole(folder / "devices_rewards.json", (json.dumps(found, indent=1) + "\n").encode())
