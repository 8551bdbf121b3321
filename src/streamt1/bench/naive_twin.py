"""How much faster is the search than its slow twin, and in how much less memory, for the same survivors?"""

from __future__ import annotations

import dataclasses
import gc
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.bench.naive import NaiveBackbone, NaiveClipReward, NaiveDecoder, NaiveFrameReward
from streamt1.bench.subjects import PROMPT, subject
from streamt1.core.peak import give_back_freed, peak_mb, reset_peak
from streamt1.core.protocols import Models
from streamt1.decoders.recompute import RecomputingDecoder
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkCommitted, Event

CPU = torch.device("cpu")


def measure(name: str = "random", chunks: int = 40, lean: bool = False) -> dict[str, Any]:
    """Both searches at 2x2, one after the other, each in a fresh process, so that peaks of memory do not mix.

    Args:
        name: see ``subjects``; 40 chunks are 30 s of video.
        lean: ours makes survivors' decoder states again (``placement.decoder_states=recompute``): less memory, more
            work.

    Returns:
        Wall seconds and those of all processors, which another program beside this one leaves alone; ``naive_parts``
        and ``parts`` say what the former went into.
    """
    ours, theirs = _apart(name, chunks, False, lean), _apart(name, chunks, True, False)
    return {
        "subject": name, "chunks": chunks, "lean": lean, "seconds": ours["seconds"],
        "naive_seconds": theirs["seconds"], "speedup": theirs["seconds"] / ours["seconds"],
        "cpu_speedup": theirs["cpu_seconds"] / ours["cpu_seconds"], "peak_mb": ours["peak_mb"],
        "naive_peak_mb": theirs["peak_mb"],
        "memory_ratio": ours["peak_mb"] / theirs["peak_mb"], "same_survivors": ours["survivors"] == theirs["survivors"],
        "parts": ours["parts"], "naive_parts": theirs["parts"],
    }  # fmt: skip


def _apart(name: str, chunks: int, naive: bool, lean: bool) -> dict[str, Any]:
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        return executor.submit(run, name, chunks, naive, lean).result()


def run(name: str, chunks: int, naive: bool, lean: bool = False) -> dict[str, Any]:
    """One search; seconds (whole, and by part), peak of resident memory above the loaded models (MB), survivors."""
    who = subject(name)
    models, config = who.models, dataclasses.replace(who.search, beam_size=2, top_k=2)
    if naive:
        assert isinstance(models.backbone, WanBackbone)
        decoder = NaiveDecoder(models.decoder, config.window)
        rewards = NaiveFrameReward(models.frame_reward), NaiveClipReward(models.clip_reward)
        models = Models(NaiveBackbone(models.backbone), decoder, *rewards)
        config = dataclasses.replace(config, candidate_batch=1)  # the official code takes them one by one
    elif lean:
        models = dataclasses.replace(models, decoder=RecomputingDecoder(models.decoder))
    _search(models, config, 2)  # what is allocated once: threads, kernels
    gc.collect()
    give_back_freed()  # what has been freed counts again once taken
    reset_peak(CPU)
    before, begin, begin_cpu = peak_mb(CPU), time.perf_counter(), time.process_time()
    survivors, parts = _search(models, config, chunks)
    seconds, cpu, peak = time.perf_counter() - begin, time.process_time() - begin_cpu, peak_mb(CPU) - before
    return {"seconds": seconds, "cpu_seconds": cpu, "parts": parts, "peak_mb": peak, "survivors": survivors}


def _search(models: Models, config: SearchConfig, chunks: int) -> tuple[list[tuple[int, int]], dict[str, float]]:
    kept: list[tuple[int, int]] = []

    class Note(Watcher):
        def happened(self, event: Event) -> None:
            if isinstance(event, ChunkCommitted):
                kept.append((event.chunk, event.candidate))

    parts = dict(Engine(models, config, Note()).run(PROMPT, chunks).cost.seconds)
    del parts["total"]
    return kept, parts
