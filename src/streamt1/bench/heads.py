"""Which heads can do without the past? Pocket, one head at a time, and the quietest of them together.

Dummy Forcing (arXiv 2601.20499) finds that a quarter of a causal video model's heads look at the current frames alone;
those need not read memory (``memory.local_heads``). They still make keys and values, and read those of their own chunk.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.bench.chart_spared import Panel, chart
from streamt1.bench.sampling import CHUNKS, beside, readings, sampled, wan_backbone
from streamt1.bench.subjects import pocket
from streamt1.core.files import write_whole
from streamt1.pocket.scenes import evaluation_scenes

Head = tuple[int, int]
"""Layer, and head within it."""
TIMES = (1000.0, 750.0, 500.0, 250.0)
"""Of denoising, at which flows are compared."""
LOOKED_AT = (2, 4, 7)
"""Chunks whose flows are compared, from 0."""
SHARES = (1 / 24, 1 / 8, 1 / 4, 1 / 2)


def measure(clips: int = 40, calibration: int = 6) -> dict[str, Any]:
    """Calibrated on clips that are not among those the oracle reads.

    Returns:
        ``heads``: how far flows are off without each head's past, in parts of their own norm, the least first.
        ``together``: for each of ``SHARES`` the same with so many of the quietest cut off at once, and the oracle over
        clips of one sample.
    """
    models, scenes = pocket().models, evaluation_scenes(clips + calibration)
    backbone = wan_backbone(models)
    cases = [
        (branch, latents, noise)
        for seed, scene in enumerate(scenes[clips:])
        for at, (branch, latents, noise) in enumerate(sampled(backbone, scene.prompt, max(LOOKED_AT) + 1, seed))
        if at in LOOKED_AT
    ]
    plain, sizes = _flows(backbone, cases), backbone.model.config
    errors = {
        (layer, head): _off(_flows(without(backbone, [(layer, head)]), cases), plain)
        for layer in range(sizes.num_layers)
        for head in range(sizes.num_heads)
    }
    quietest = sorted(errors, key=lambda head: errors[head])
    whole, together = readings(models, scenes[:clips], CHUNKS), []
    for share in SHARES:
        heads = quietest[: round(share * len(quietest))]
        other = without(backbone, heads)
        found = beside(readings(replace(models, backbone=other), scenes[:clips], CHUNKS), whole)
        together.append({"share": share, "heads": heads, "flow_off": _off(_flows(other, cases), plain), **found})
    named = [{"head": head, "flow_off": errors[head]} for head in quietest]
    return {"oracle_plain": statistics.mean(whole), "heads": named, "together": together}


def write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """The chart and its numbers."""
    [found] = rows
    panel = Panel("pocket", found["oracle_plain"], {"the quietest heads": found["together"]})
    below = "They read their own chunk alone. Dotted: 1% of the oracle."
    png = chart([panel], "Heads without a past", below, "heads that read nothing of the past, %")
    write_whole(folder / "heads.json", (json.dumps(found, indent=1) + "\n").encode())
    write_whole(folder / "heads.png", png)


def without(backbone: WanBackbone, heads: Sequence[Head]) -> WanBackbone:
    """The same model, in which these heads read their own chunk alone."""
    return backbone.with_memory(replace(backbone.memory.config, local_heads=tuple(heads)))


Case = tuple[WanBranch, Tensor, Tensor]


def _flows(backbone: WanBackbone, cases: Sequence[Case]) -> list[Tensor]:
    return [
        backbone.flow([branch], torch.lerp(latents[None], noise, time / 1000), torch.tensor(time))
        for branch, latents, noise in cases
        for time in TIMES
    ]


def _off(flows: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    return statistics.mean(((one - other).norm() / other.norm()).item() for one, other in zip(flows, plain))
