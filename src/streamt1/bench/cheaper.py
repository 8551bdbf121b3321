"""How much of the search's gain do the switches for a cheaper search keep, and at what share of its cost?"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from streamt1.config.load import load_config
from streamt1.evaluation.runner import run_suite
from streamt1.evaluation.suites import load_suite

SUITE = "pocket-cheaper"
MOST = 0.6


def measure(prompts: int | None = None) -> dict[str, Any]:
    """Every switch of the suite against the whole search, from the same seeds.

    Args:
        prompts: held-out prompts; None for as many as the suite says.

    Returns:
        Of each of the ``switches``: ``gain`` (the oracle's, over one sample), ``gain_kept`` (share of the whole
        search's gain), ``cost_share`` (of its model passes) and ``seconds_share``; ``narrow`` is the control, the same
        search with fewer candidates. Beside them, the switch that keeps most at no more than ``MOST`` of the passes.
    """
    suite = load_suite(SUITE)
    if prompts is not None:
        suite = suite.model_copy(update={"lengths": (suite.lengths[0].model_copy(update={"prompts": prompts}),)})
    with tempfile.TemporaryDirectory() as folder:
        rows = run_suite(suite, load_config(suite.preset), Path(folder), jobs=os.cpu_count() or 1)
    means: dict[str, dict[str, float]] = defaultdict(dict)
    for method in (*suite.methods, *suite.ablations):
        for column in ("oracle", "model_passes", "seconds"):
            means[method][column] = statistics.fmean(row[column] for row in rows if row["method"] == method)
    whole, sample = means["stream_t1"], means["greedy"]["oracle"]
    gain = whole["oracle"] - sample
    switches = [
        {
            "switch": name, "clips": suite.lengths[0].prompts, "gain": means[name]["oracle"] - sample,
            "gain_kept": (means[name]["oracle"] - sample) / gain if gain else None,
            "cost_share": means[name]["model_passes"] / whole["model_passes"],
            "seconds_share": means[name]["seconds"] / whole["seconds"],
        }
        for name in ("stream_t1", *suite.ablations)
    ]  # fmt: skip
    cheap = [one for one in switches if one["cost_share"] <= MOST] or switches[:1]
    best = max(cheap, key=lambda one: one["gain"])
    return {key: best[key] for key in ("switch", "gain_kept", "cost_share")} | {"switches": switches}
