"""How far do more devices carry one search? Simulated: real processes, driver and traffic, around models that sleep."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from streamt1.bench.chart_devices import chart
from streamt1.bench.sleepers import sleepers
from streamt1.bench.sleeping import CLIP, DECODE, PASS, PICTURE, SHAPE, STEPS, STRIDE
from streamt1.bench.subjects import PROMPT
from streamt1.bench.tally import KINDS, Counted, Tally
from streamt1.core.files import write_whole
from streamt1.core.protocols import Models
from streamt1.distributed import Fleet, Link, Request, Scorers, remote_models
from streamt1.search.config import SearchConfig
from streamt1.search.engine import search
from streamt1.search.start import start

RATE = 400.0
"""TFLOP/s that a device is assumed to achieve: an H100 on dense bfloat16."""
SEARCHES = ((2, 2), (4, 4), (8, 4))
"""``beam_size`` and ``top_k``."""
COUNTS = (1, 2, 4, 8, 16, 32)
ROUNDS = 20
DECODED = SHAPE[0] * DECODE
CANDIDATE = STEPS * PASS + DECODED + SHAPE[0] * STRIDE * PICTURE + CLIP
"""TFLOP of a chunk of one candidate, and of its decode alone."""


class Pacing(Link, Protocol):
    """A device whose pace can be set, such as ``Sleeper``."""

    def load(self, pace: float, **sizes: Any) -> Future[None]: ...


def measure(slow: float = 2.0, chunks: int = 3, most: int = COUNTS[-1]) -> dict[str, Any]:
    """Seconds a chunk over 1 to ``most`` processes on Ray, which take ``slow`` times as long as they are computed to.

    The first chunk is left out; seconds are divided by ``slow`` again, and corrected for nothing else.
    """
    with sleepers(most) as links:
        rounds = {count: _round(links[:count]) for count in COUNTS if count <= most}
        found = scaling(links, slow, chunks)
    return {"tflops_assumed": RATE, "slow": slow, "milliseconds_a_round": rounds, **found}


def scaling(
    links: Sequence[Pacing],
    slow: float,
    chunks: int,
    searches: Sequence[tuple[int, int]] = SEARCHES,
    **sizes: Any,
) -> dict[str, Any]:
    """Rows for each search and number of devices, and whether all found the same survivors.

    A row: ``seconds`` a chunk and ``host_seconds``, those of a search whose models don't sleep at all, as they are;
    ``megabytes`` a chunk that travel, by kind.
    """
    rows, same = list[dict[str, Any]](), True
    for beam_size, top_k in searches:
        config, seen, alone = SearchConfig(beam_size=beam_size, top_k=top_k), list[Any](), 0.0
        candidates = beam_size * top_k
        for count in (count for count in COUNTS if count <= min(candidates, len(links))):
            host, _, _ = searched(links[:count], 0.0, config, chunks, sizes)
            seconds, travels, lineages = searched(links[:count], slow / RATE, config, chunks, sizes)
            seconds, alone = seconds / slow, alone or seconds / slow
            seen.append(lineages)
            expected = computed(candidates, top_k, count)
            rows.append({
                "search": f"{beam_size}x{top_k}", "devices": count, "seconds": seconds, "speed_up": alone / seconds,
                "efficiency": alone / seconds / count, "computed_seconds": expected / RATE,
                "computed_speed_up": computed(candidates, top_k, 1) / expected, "host_seconds": host,
                "megabytes": travels,
            })  # fmt: skip
        same = same and all(one == seen[0] for one in seen)
    return {"same_survivors": same, "rows": rows}


def computed(candidates: int, survivors: int, devices: int) -> float:
    """TFLOP of a chunk on the device that has most to do.

    It has its share of the candidates, the context passes of all survivors, and the decodes of those that others made.
    """
    others = survivors - survivors // devices
    return ceil(candidates / devices) * CANDIDATE + survivors * PASS + others * DECODED


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows in Markdown."""
    head = ["search", "devices", "s a chunk", "computed", "times faster", "computed", "efficiency", "host alone, s"]
    lines = [head + [f"{kind}, MB" for kind in KINDS]]
    for row in rows:
        ratios = f"{row['speed_up']:.1f}", f"{row['computed_speed_up']:.1f}", f"{row['efficiency']:.2f}"
        seconds = f"{row['seconds']:.2f}", f"{row['computed_seconds']:.2f}"
        travels = [f"{row['megabytes'][kind]:.1f}" for kind in KINDS]
        lines.append([row["search"], str(row["devices"]), *seconds, *ratios, f"{row['host_seconds']:.2f}", *travels])
    lines.insert(1, ["---"] * len(lines[0]))
    return [f"| {' | '.join(line)} |" for line in lines]


def write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """The chart and its numbers."""
    [found] = rows
    write_whole(folder / "devices_scaling.json", (json.dumps(found, indent=1) + "\n").encode())
    write_whole(folder / "devices_scaling.png", chart(found))


def searched(
    links: Sequence[Pacing],
    pace: float,
    config: SearchConfig,
    chunks: int,
    sizes: dict[str, Any],
    rewards: int = 0,
    group: int | None = None,
) -> tuple[float, dict[str, float], list[Any]]:
    """Seconds and megabytes a chunk, the first left out, and the lineages of the last.

    Args:
        pace: seconds a TFLOP.
        rewards: how many of the devices, the last ones, do nothing but score.
        group: see ``Models.group``, which has a default of its own.
    """
    for done in [link.load(pace, **sizes) for link in links]:
        done.result()
    tally = Tally()
    counted = [Counted(link, tally) for link in links]
    makers, apart = counted[: len(links) - rewards], counted[len(links) - rewards :]
    models = remote_models(Fleet(makers), Scorers(apart) if apart else None)
    models = models if group is None else replace(models, group=group)
    ends, lineages = _steps(models, config, chunks, tally)
    travels = {kind: tally.bytes[kind] / 1e6 / (chunks - 1) for kind in KINDS}
    return (ends[-1] - ends[0]) / (chunks - 1), travels, lineages


def _steps(models: Models, config: SearchConfig, chunks: int, tally: Tally) -> tuple[list[float], list[Any]]:
    """When each chunk ended. One more is begun than is measured: the last of a video writes no memory."""
    ends, state = list[float](), start(models, config, PROMPT, chunks + 1)
    try:
        for reached in search(models, config, state):
            state = reached
            ends.append(time.perf_counter())
            if state.chunk == 1:
                tally.bytes.clear()
            if state.chunk == chunks:
                break
        return ends, list(state.lineages)
    finally:
        state.release(models)


def _round(links: Sequence[Link]) -> float:
    """Milliseconds until all have answered a request for nothing."""
    begin = time.perf_counter()
    for _ in range(ROUNDS):
        for answer in [link.submit(Request()) for link in links]:
            answer.result()
    return 1000 * (time.perf_counter() - begin) / ROUNDS
