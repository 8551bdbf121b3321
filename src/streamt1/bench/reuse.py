"""Can what a token's block did in the chunk before be used again? Pocket, with both samplers.

MotionCache (arXiv 2605.01725) reuses the residuals of tokens that moved little from one step to the next; four steps
are too few for that, so the chunk before is asked: the same place, the same step, the same block. A residual is what a
block adds to its input.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.bench.chart_spared import Panel, chart
from streamt1.bench.sampling import beside, readings, wan_backbone
from streamt1.config.load import load_config
from streamt1.core.files import write_whole
from streamt1.families.build import build
from streamt1.pocket.scenes import evaluation_scenes

SHARES = (0.1, 0.25, 0.5)
"""Of tokens, in every block and step."""
RULES = {"best": "residuals that changed least: no one knows them before they are made", "moved": "inputs that did"}
"""How tokens are chosen whose residual is not made again."""
SAID = {"best": "residual changed least (known too late)", "moved": "input moved least"}


def measure(preset: str = "pocket", clips: int = 24) -> dict[str, Any]:
    """One sample of each scene.

    Returns:
        ``steps``: of each step, over blocks and tokens, how far residuals are from those of the chunk before, in parts
        of their own, for the mean token and for the tenth that is nearest, and their cosine.
        ``oracle``: by rule and share what the oracle reads.
    """
    torch.set_num_threads(1)
    models, scenes = build(load_config(preset)), evaluation_scenes(clips)
    backbone = wan_backbone(models)
    with reusing(backbone) as found:
        plain = readings(models, scenes)
    rows = []
    for rule in RULES:
        for share in SHARES:
            with reusing(backbone, rule, share):
                rows.append({"rule": rule, "share": share, **beside(readings(models, scenes), plain)})
    steps = [
        {"step": step, **{name: statistics.mean(one[name] for one in values) for name in values[0]}}
        for step, values in sorted(found.items())
    ]
    return {"preset": preset, "oracle_plain": statistics.mean(plain), "steps": steps, "oracle": rows}


def write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """The chart and its numbers."""
    panels = [
        Panel(row["preset"], row["oracle_plain"], {told: _of(row["oracle"], rule) for rule, told in SAID.items()})
        for row in rows
    ]
    below = "Residuals of blocks taken from the chunk before; dotted: 1% of the oracle, where it would pay."
    png = chart(panels, "What using a chunk's work again costs", below, "tokens not computed, %")
    write_whole(folder / "reuse.json", (json.dumps(list(rows), indent=1) + "\n").encode())
    write_whole(folder / "reuse.png", png)


def _of(rows: Sequence[dict[str, Any]], rule: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["rule"] == rule]


@contextmanager
def reusing(
    backbone: WanBackbone, rule: str = "best", share: float = 0.0
) -> Iterator[dict[int, list[dict[str, float]]]]:
    """Within the block a share of the tokens takes its residuals from the chunk before; yields what is compared, by
    step. Commits are left as they are."""
    compared: dict[int, list[dict[str, float]]] = defaultdict(list)
    before: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    now: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    step, denoise, flow = -1, backbone.denoise, backbone.flow

    def denoised(parents: Sequence[WanBranch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        nonlocal step, before, now
        before, now, step = now if parents[0].memory.chunks else {}, {}, -1
        return denoise(parents, x, noise, steps)

    def flowing(parents: Sequence[WanBranch], x: Tensor, timestep: Tensor) -> Tensor:
        nonlocal step
        step += 1
        handles = [block.register_forward_hook(hook(layer)) for layer, block in enumerate(backbone.model.blocks)]
        try:
            return flow(parents, x, timestep)
        finally:
            for handle in handles:
                handle.remove()

    def hook(layer: int) -> Any:
        def after(_: Any, inputs: tuple[Tensor, ...], made: Tensor) -> Tensor:
            x, residual = inputs[0], made - inputs[0]
            now[step, layer] = x, residual
            if (step, layer) not in before:
                return made
            old_x, old = before[step, layer]
            changed = (residual - old).norm(dim=-1) / residual.norm(dim=-1)
            cosine = F.cosine_similarity(residual, old, dim=-1).mean().item()
            nearest = changed.flatten().quantile(0.1).item()
            compared[step].append({"changed": changed.mean().item(), "nearest_tenth": nearest, "cosine": cosine})
            order = changed if rule == "best" else (x - old_x).norm(dim=-1) / x.norm(dim=-1)
            chosen = order.flatten().topk(round(share * order.numel()), largest=False).indices
            return made.flatten(0, -2).index_copy(0, chosen, (x + old).flatten(0, -2)[chosen]).view_as(made)

        return after

    with mock.patch.object(backbone, "denoise", denoised), mock.patch.object(backbone, "flow", flowing):
        yield compared
