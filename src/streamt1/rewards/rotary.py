"""Rotary embeddings of Qwen2-VL: tables in float32, whatever the model's dtype is.

Frequencies are plain tensors and no buffers, so that no cast of a model casts them: in bfloat16 an angle at position
1000 is off by up to 1.15 rad.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from streamt1.core.devices import sent
from streamt1.core.errors import CheckpointError
from streamt1.rewards.vision import MERGE

Tables = tuple[Tensor, Tensor]
"""Cosines and sines."""


def frequencies(width: int, base: float) -> Tensor:
    """Angles from one position to the next, ``[width / 2]`` float32, on the host."""
    return 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.float) / width))


def base_of(config: Any, kinds: tuple[str, ...]) -> float:
    """The base of a configuration's frequencies. Raises ``CheckpointError`` for a kind of embedding that is another."""
    told: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    kind = told.get("rope_type", kinds[0])
    if kind not in kinds:
        raise CheckpointError(f"the configuration asks for rotary embeddings of kind {kind}: it is not Qwen2-VL's")
    return float(told.get("rope_theta", 10000.0))


def text_tables(length: int, spread: Tensor, device: torch.device) -> Tables:
    """Of positions 0..length-1, ``[L, head]``: the same on all three axes, so that it needs no more than one."""
    angles = torch.arange(length, device=device).float()[:, None] * sent(spread, device)
    return _doubled(angles)


def frame_tables(rows: int, columns: int, spread: Tensor, device: torch.device) -> Tables:
    """Of the patches of one frame in the order of ``patches_of``, ``[P, head]``: rows first, then columns."""
    shape = (rows // MERGE, MERGE, columns // MERGE, MERGE)
    row, column = (
        torch.arange(size, device=device).float().view(view).expand(shape).transpose(1, 2).reshape(-1, 1)
        for size, view in ((rows, (*shape[:2], 1, 1)), (columns, (1, 1, *shape[2:])))
    )
    spread = sent(spread, device)
    return _doubled(torch.cat([row * spread, column * spread], dim=1))


def _doubled(angles: Tensor) -> Tables:
    """Both halves of a head turn by the same angles."""
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=1), torch.cat([sin, sin], dim=1)


def turned(x: Tensor, tables: Tables) -> Tensor:
    """Queries or keys ``[..., L, head]``, each turned by its position's angles."""
    cos, sin = tables
    first, second = x.chunk(2, dim=-1)
    crossed = torch.cat([-second, first], dim=-1).mul_(sin)
    return (x * cos).add_(crossed)
