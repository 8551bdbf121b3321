"""Pages in fewer bits: what is lost, whether the loss grows, what a search makes of it, and what it costs and spares.

All on pocket, beside the same in 16 bits; the peak at full size is counted on a device that is not there.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.bench.fake_cuda import fake_cuda
from streamt1.bench.passes import BEAMS, CANDIDATES, commit, denoise, full_size, grown
from streamt1.bench.sampling import after, sampled, wan_backbone
from streamt1.bench.subjects import PROMPT, Subject, pocket, subject
from streamt1.config.load import load_config
from streamt1.core.errors import DoesNotFitError
from streamt1.core.protocols import Models
from streamt1.core.types import Route
from streamt1.memory import MemoryConfig, Page
from streamt1.memory.codecs import Rotated, bits_of
from streamt1.memory.storage import BLEND, CODECS
from streamt1.placement.memory_plan import Room, plan_memory
from streamt1.search.engine import step
from streamt1.search.start import start
from streamt1.search.state import SearchState
from streamt1.search.watcher import Watcher

FORMS = tuple((codec, bits) for codec, widths in CODECS.items() for bits in widths)
"""Ways to keep the pages of the window."""
CHUNKS, SPAN = 40, 5
"""Of the video that errors are followed through, and those at its ends that are averaged."""
NOISY = 500.0
"""Of 1000: the time of denoising that flows are compared at."""
GB = 1e9
DEVICES = (24, 48, 80)
HOST = 128
"""Gigabytes of devices, and of the host beside one."""
MOST_BEAMS = 64


def measure(seeds: int = 10, chunks: int = 8, timed: int = 12) -> dict[str, Any]:
    """See ``distortion``, ``drift``, ``survivors``, ``seconds``, ``peak`` and ``beams``."""
    who = pocket()
    return {
        "distortion": distortion(who.models),
        "drift": drift(who.models),
        "survivors": [survivors(who, bits, seeds, chunks) for bits in (8, 4, 2)],
        "seconds": [seconds(subject(name), timed) for name in ("pocket", "random")],
        "peak": [peak(route) for route in Route],
        "beams": beams(),
    }


def distortion(models: Models, chunks: int = 12) -> list[dict[str, Any]]:
    """Of a sampled video's keys and values: mean square of the error in parts of theirs, and of the bound.

    The bound is TurboQuant's, sqrt(3) pi / 2 * 4^-b for b bits (arXiv 2504.19874, theorem 1); it holds for ``rotated``.
    """
    pages = _pages(models, chunks)
    rows = []
    for codec in (*(CODECS[name][bits] for name, bits in FORMS), BLEND):
        errors = [
            _lost(parts, lambda x, codec=codec: codec.decode(codec.encode(x), torch.float32))
            for parts in ([page.keys for page in pages], [page.values for page in pages])
        ]
        bits = bits_of(codec, *pages[0].keys.shape[1:])
        row = {"codec": codec.name, "bits": bits, "keys": errors[0], "values": errors[1]}
        if isinstance(codec, Rotated):
            bound = math.sqrt(3) * math.pi / 2 * 4.0**-codec.width
            row["of_bound"] = [error / bound for error in errors]
        rows.append(row)
    return rows


def drift(models: Models) -> list[dict[str, Any]]:
    """Does the error grow? Flows over memories in fewer bits, written from the same latents as the one in 16.

    Returns:
        Of each form, root of the mean squared difference of flows in parts of their own: in the first ``SPAN`` chunks
        that read a memory, in the last ``SPAN``, and of all.
    """
    plain = wan_backbone(models)
    others = {form: plain.with_memory(_rules(plain, *form)) for form in FORMS}
    follow = {form: one.start(PROMPT) for form, one in others.items()}
    errors: dict[tuple[str, int], list[float]] = {form: [] for form in FORMS}
    for branch, latents, noise in sampled(plain, PROMPT, CHUNKS):
        if branch.memory.pages:
            flow = plain.flow([branch], noise, torch.tensor(NOISY))
            for form, one in others.items():
                own = one.flow([follow[form]], noise, torch.tensor(NOISY))
                errors[form].append(((own - flow).norm() / flow.norm()).item())
        follow = {form: after(one, follow[form], latents) for form, one in others.items()}
    return [
        {
            "codec": codec, "bits": bits, "early": statistics.mean(off[:SPAN]), "late": statistics.mean(off[-SPAN:]),
            "mean": statistics.mean(off),
        }
        for (codec, bits), off in errors.items()
    ]  # fmt: skip


def survivors(who: Subject, bits: int, seeds: int, chunks: int) -> dict[str, Any]:
    """Searches in ``bits`` beside the same in 16: do they keep the same candidates, and choose the same video?"""
    coded = _coded(who, bits)
    same, chosen = [], []
    for seed in range(seeds):
        plain, other = ([*_searched(one, chunks, seed)] for one in (who, coded))
        same.append([one.lineages == two.lineages for one, two in zip(plain, other)])
        chosen.append(plain[-1].beams[0].lineage == other[-1].beams[0].lineage)
    first = [row.index(False) if False in row else chunks for row in same]
    return {
        "bits": bits, "runs": seeds, "same_boundaries": statistics.mean(map(statistics.mean, same)),
        "same_throughout": sum(all(row) for row in same), "same_best": sum(chosen),
        "first_that_differs": statistics.mean(first), "of": chunks,
    }  # fmt: skip


def seconds(who: Subject, chunks: int) -> dict[str, Any]:
    """Of a chunk of a search, in 8 and 4 bits over 16: chunks take turns, the median of the ratios."""
    runs = {bits: _searched(_coded(who, bits) if bits < 16 else who, chunks, 0) for bits in (16, 8, 4)}
    spent: dict[int, list[float]] = {bits: [] for bits in runs}
    for _ in range(chunks):
        for bits, run in runs.items():
            begin = time.perf_counter()
            next(run)
            spent[bits].append(time.perf_counter() - begin)
    late = {bits: took[SPAN:] for bits, took in spent.items()}
    found = {"subject": who.name, "seconds": statistics.median(late[16])}
    return found | {
        f"ratio_{bits}": statistics.median(one / plain for one, plain in zip(late[bits], late[16])) for bits in (8, 4)
    }


def peak(route: Route, preset: str = "longlive", chunks: int = 7) -> dict[str, Any]:
    """At full size, 2x2, both beams apart and every chunk leaving by one route: gigabytes of pages at their peak.

    It is what is alive above the weights in a step of four candidates and two commits, less what the same work takes
    beside its pages in 16 bits: so room for what is decoded counts as pages.
    """
    found = {bits: _peak_of(preset, bits, route, chunks) for bits in (16, 8, 4)}
    most, held = found[16]
    work = most - held
    rows = {bits: {"pages_gb": held / GB, "peak_gb": (most - work) / GB} for bits, (most, held) in found.items()}
    ratio = {bits: row["peak_gb"] / rows[16]["peak_gb"] for bits, row in rows.items()}
    return {"leaving": route.value, "bits": rows, "ratio": ratio}


def beams(preset: str = "longlive") -> list[dict[str, Any]]:
    """The most beams, two candidates each, whose pages stay on a device beside the generator, with all the sinks that
    they may have; the rewards have a device of their own."""
    return [{"device": size, **{f"bits_{bits}": _most(preset, size, bits) for bits in (16, 8, 4)}} for size in DEVICES]


def _most(preset: str, size: int, bits: int) -> int:
    fits = 0
    for count in range(1, MOST_BEAMS + 1):
        config = load_config(preset, {"memory.bits": bits, "search.top_k": count, "search.beam_size": 2})
        try:
            plan = plan_memory(config, Room(size * GB, HOST * GB), "generator")
        except DoesNotFitError:
            break
        if plan.placement.kv != "device":
            break
        fits = count
    return fits


def _peak_of(preset: str, bits: int, route: Route, chunks: int) -> tuple[float, float]:
    """Bytes: the most that is alive above the weights in a chunk, and the most that pages take in it."""
    with fake_cuda() as device:
        backbone = full_size(preset)
        weights = device.live["cuda"]
        backbone = backbone.with_memory(_rules(backbone, "rotated", bits))
        root = grown(backbone, backbone.start(""), 1, None)
        ends = [grown(backbone, commit(backbone, root, route), chunks - 2, route) for _ in range(BEAMS)]
        backbone.release(root)
        del root
        device.begin()
        denoise(backbone, [beam for beam in ends for _ in range(CANDIDATES // BEAMS)], 1)
        children = [commit(backbone, beam, route) for beam in ends]
        held = backbone.memory.pool.nbytes
        most = device.peak["cuda"] - weights
        del children
        return most, held


def _rules(backbone: WanBackbone, codec: str, bits: int) -> MemoryConfig:
    return dataclasses.replace(backbone.memory.config, codec=codec, bits=bits)


def _coded(who: Subject, bits: int) -> Subject:
    backbone = wan_backbone(who.models)
    other = backbone.with_memory(_rules(backbone, "rotated", bits))
    return dataclasses.replace(who, models=dataclasses.replace(who.models, backbone=other))


def _searched(who: Subject, chunks: int, seed: int) -> Iterator[SearchState]:
    """The state after every chunk of a search of 2x2."""
    config = dataclasses.replace(who.search, beam_size=2, top_k=2)
    state = start(who.models, config, PROMPT, chunks, seed)
    try:
        while not state.ended:
            state = step(who.models, config, state, Watcher())
            yield state
    finally:
        state.release(who.models)


def _pages(models: Models, chunks: int) -> list[Page]:
    """What the first chunks of a sampled video write to memory, in 16 bits."""
    parts = sampled(wan_backbone(models), PROMPT, chunks + 1)
    return [branch.memory.pages[-1] for branch, _, _ in parts if branch.memory.pages]


def _lost(parts: list[Any], through: Callable[[Tensor], Tensor]) -> float:
    """Mean square of the error, in parts of the numbers', of all layers of some pages."""
    layers = [layer.float() for part in parts for layer in part]
    errors = sum((through(layer) - layer).square().sum().item() for layer in layers)
    return errors / sum(layer.square().sum().item() for layer in layers)
