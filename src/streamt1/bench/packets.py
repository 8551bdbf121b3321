"""Memory that travels: is a search the same after four bits, what does a packet spare, and when does shipping pay?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from streamt1.bench.devices import RATE
from streamt1.bench.sleeping import DECODE, PASS, SHAPE
from streamt1.bench.subjects import PROMPT
from streamt1.config.load import load_config
from streamt1.core.errors import Stopped
from streamt1.core.protocols import Models
from streamt1.core.snapshot import PAGES
from streamt1.memory.portable import CODES
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.packet import Packet
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run_folder import run_folder
from streamt1.pipeline.stream import Stream
from streamt1.search.archive import InMemory
from streamt1.search.choose import choose
from streamt1.search.config import SearchConfig
from streamt1.search.engine import step
from streamt1.search.packing import pack, unpack
from streamt1.search.start import start
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkStarted, Event

FORMS: dict[str, int | None] = {"plain": None, "four bits": 4}
WINDOW = {"plain": 3.45, "four bits": 1.08}
"""Gigabytes of a window's keys and values, 1.3B at 480x832; sinks that were appended come on top."""
STATE = 1.8
"""Gigabytes of a decoder's state there."""
GIGABITS = (1, 10, 25, 100, 400)
DECODED = SHAPE[0] * DECODE


def measure(seeds: int = 20, before: int = 6, after: int = 4, chunks: int = 40) -> dict[str, Any]:
    """On pocket, with a search of 2x2: see ``survivors`` and ``going_on``; and ``pays``, by arithmetic.

    ``coded``: the same of runs whose pages have 4 bits from the first chunk on; their packets hold the codes.
    """
    pipeline, coded = (Pipeline(load_config("pocket", {"memory.bits": bits})) for bits in (16, 4))
    rows, others = (
        survivors(one.models, one.config.effective_search, seeds, before, after) for one in (pipeline, coded)
    )
    return {
        "survivors": summed(rows), "coded": summed(others), "rows": rows, "going_on": going_on(pipeline, chunks),
        "pays": pays(),
    }  # fmt: skip


def summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the rows of ``survivors``, for each form: runs, those with the same survivors throughout, and the like."""
    found = dict[str, Any]()
    for name in FORMS:
        own = [row for row in rows if row["form"] == name]
        off = [row["off"] for row in own if row["off"] is not None]
        found[name] = {
            "runs": len(own),
            "same_survivors": sum(row["same"] == row["of"] for row in own),
            "same_boundaries": sum(row["same"] for row in own) / sum(row["of"] for row in own),
            "same_video": sum(row["chosen"] for row in own),
            "mean_gain": sum(row["gain"] for row in own) / len(own),
            "latents_off": max(off, default=None),
            "memory_megabytes": sum(row["memory_megabytes"] for row in own) / len(own),
        }
    return found


def survivors(
    models: Models, config: SearchConfig, seeds: int = 20, before: int = 6, after: int = 4
) -> list[dict[str, Any]]:
    """Searches that go on from a packed state, plain and in four bits, and those that never stopped.

    Returns:
        A row a seed and form: how many of the ``after`` boundaries have the same survivors in the same order, whether
        the same video is chosen, by how much its final score is better, the megabytes of pages, and how far latents are
        off that have the same ancestors, in parts of their root mean square; None where there are none.
    """
    rows = []
    for seed in range(seeds):
        state = start(models, config, PROMPT, before + after, seed)
        for _ in range(before):
            state = step(models, config, state, Watcher())
        packed = {name: pack(models, state, bits) for name, bits in FORMS.items()}
        archives = {name: _copy(state) for name in packed}
        whole = _searched(models, config, state)
        for name, (tensors, record) in packed.items():
            taken = unpack(models, record, tensors.__getitem__, archives[name], torch.device("cpu"))
            size = sum(one.nbytes for part, one in tensors.items() if f".{PAGES}" in part or f".{CODES}" in part) / 1e6
            compared = _compared(whole, _searched(models, config, taken), before)
            rows.append({"seed": seed, "form": name, "memory_megabytes": size, **compared})
    return rows


def going_on(pipeline: Pipeline, chunks: int) -> dict[str, Any]:
    """Seconds to go on with a run after so many chunks: by a replay, and from packets that it left."""
    asked = pipeline.asked(PROMPT, chunks + 1)
    with tempfile.TemporaryDirectory() as parent:
        path, found = Path(parent) / "run", dict[str, Any]({"chunks": chunks})
        begin = time.perf_counter()
        try:
            with run_folder(path, asked, pipeline.models.decoder.fps) as folder:
                Stream(pipeline.search(asked, folder, _Stops(chunks))).finish()
        except Stopped:
            found["search_seconds"] = time.perf_counter() - begin
        for name, bits in FORMS.items():
            found[name] = _packed(pipeline, asked, path, Path(parent) / f"{bits}.safetensors", bits)
    return found


def _packed(pipeline: Pipeline, asked: Asked, path: Path, file: Path, bits: int | None) -> dict[str, float]:
    """Seconds of a replay, and of a packet's way: memory to file, and file to memory."""
    found = dict[str, float]()
    for packet in (None, file):
        begin = time.perf_counter()
        taken = None if packet is None else Packet.read(packet)
        found["read_seconds"] = time.perf_counter() - begin
        try:
            with run_folder(path, asked, pipeline.models.decoder.fps, packet=taken) as folder:
                state = folder.begin(pipeline.models, asked, Watcher())
                took = time.perf_counter() - begin
                if packet is None:
                    found["replay_seconds"], begin = took, time.perf_counter()
                    _, snapshot = folder.pack(pipeline.models, state, file, bits)
                    found["pack_seconds"], found["megabytes"] = time.perf_counter() - begin, snapshot.nbytes / 1e6
                else:
                    found["packet_seconds"] = took
                state.release(pipeline.models)
                raise Stopped("measured")
        except Stopped:
            continue
    return found


def pays(rate: float = RATE) -> list[dict[str, Any]]:
    """By arithmetic, at so many TFLOP/s: seconds on the way, and how much could be made again meanwhile.

    Returns:
        A row for each of ``GIGABITS``. ``passes``: of the context, for a device that lacks memory. ``chunks``: for a
        run that goes on from a packet, which holds a decoder's state, too; a replay decodes as well.
    """
    rows = []
    for gigabits in GIGABITS:
        row: dict[str, Any] = {"gigabits": gigabits}
        for name, gigabytes in WINDOW.items():
            seconds, more = 8 * gigabytes / gigabits, 8 * STATE / gigabits
            row[name] = {
                "seconds": seconds,
                "passes": seconds / (PASS / rate),
                "chunks": (seconds + more) / ((PASS + DECODED) / rate),
            }
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What ``pays`` gives, in Markdown."""
    head = ["Gbit/s"]
    for name in WINDOW:
        head += [f"{name}, s", "passes", "chunks of a packet"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [f"{row['gigabits']}"]
        for name in WINDOW:
            one = row[name]
            cells += [f"{one['seconds']:.2f}", f"{one['passes']:.0f}", f"{one['chunks']:.0f}"]
        lines.append(cells)
    return [f"| {' | '.join(line)} |" for line in lines]


def _searched(models: Models, config: SearchConfig, state: SearchState) -> tuple[list[SearchState], Any]:
    """The state at every boundary up to the last, and the answer."""
    states = []
    while not state.ended:
        state = step(models, config, state, Watcher())
        states.append(state)
    try:
        return states, choose(models, config, state)
    finally:
        state.release(models)


def _compared(whole: tuple[list[SearchState], Any], other: tuple[list[SearchState], Any], first: int) -> dict[str, Any]:
    (states, result), (theirs, answer) = whole, other
    same = [one.lineages == two.lineages for one, two in zip(states, theirs)]
    pairs = zip(result.beam.lineage, result.beam.chunks, answer.beam.lineage, answer.beam.chunks)
    off = [_off(one.latents, two.latents) for own, one, its, two in list(pairs)[first:] if own == its]
    gain = max(answer.final) - max(result.final)
    chosen = result.beam.lineage == answer.beam.lineage
    return {"same": sum(same), "of": len(same), "chosen": chosen, "gain": gain, "off": max(off, default=None)}


def _off(latents: torch.Tensor, others: torch.Tensor) -> float:
    return ((others - latents).square().mean() / latents.square().mean()).sqrt().item()


def _copy(state: SearchState) -> InMemory:
    found = InMemory()
    for chunk, shown in zip(state.archive.chunks(), state.settled):
        found.keep(chunk, shown)
    return found


class _Stops(Watcher):
    """Ends a run at the start of a chunk."""

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkStarted) and event.chunk == self._chunk:
            raise Stopped("left")
