"""Names of Wan's weights as official files spell them, and as :class:`WanModel` does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.weights import unwrapped

_DIFFUSERS = {
    "condition_embedder.time_embedder.linear_1.": "time_embedding.0.",
    "condition_embedder.time_embedder.linear_2.": "time_embedding.2.",
    "condition_embedder.text_embedder.linear_1.": "text_embedding.0.",
    "condition_embedder.text_embedder.linear_2.": "text_embedding.2.",
    "condition_embedder.time_proj.": "time_projection.1.",
    "proj_out.": "head.head.",
    ".attn1.": ".self_attn.",
    ".attn2.": ".cross_attn.",
    ".to_q.": ".q.",
    ".to_k.": ".k.",
    ".to_v.": ".v.",
    ".to_out.0.": ".o.",
    ".ffn.net.0.proj.": ".ffn.0.",
    ".ffn.net.2.": ".ffn.2.",
    ".norm2.": ".norm3.",
    ".scale_shift_table": ".modulation",
}


def contents(loaded: Mapping[str, Any], containers: tuple[str, ...], source: str) -> Mapping[str, Tensor]:
    """The weights themselves, taken out of the dictionary that a training run saved."""
    while inner := next((key for key in containers if isinstance(loaded.get(key), Mapping)), None):
        loaded = loaded[inner]
    strange = [key for key, value in loaded.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if strange or not loaded:
        found = ", ".join(sorted(map(str, loaded))[:8]) or "nothing"
        raise CheckpointError(f"{source} holds no weights under {', '.join(containers)}, only: {found}")
    return loaded


def plain(name: str) -> str:
    """Without what wrappers of training and compilers put before and into names."""
    return re.sub(r"^(?:(?:module|model)\.)+", "", unwrapped(name))


def from_diffusers(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    for theirs, ours in _DIFFUSERS.items():
        if theirs in f".{name}" or theirs in name:
            name = name.replace(theirs, ours)
    return name
