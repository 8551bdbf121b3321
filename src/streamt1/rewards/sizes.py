"""What a call of a Qwen2-VL reward needs of the device beside the weights that stay there, from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from streamt1.rewards.vision import MOST_PATCHES

PATCH_VALUES, SEEN_WIDTH, SEEN_INNER = 1176, 1280, 5120
"""A patch's values, and the widths of the vision tower and of its inner layers, the same in all Qwen2-VL models."""


@dataclass(frozen=True)
class Call:
    """Questions that are alike.

    Attributes:
        questions: that go through the model together: all of a call where weights stream, else ``at_once``.
        at_once: that go through a layer together.
        tokens, patches: of one question; four patches are one token.
    """

    questions: int
    at_once: int
    tokens: int
    patches: int


def work_bytes(call: Call, hidden: int, inner: int, width: int, visual: float = 0, layer: float = 0) -> float:
    """The most bytes that are alive at a time, where attention is a fused kernel.

    Two places can be the widest: the inner layer of the vision tower, beside its weights if they only visit, and that
    of a language layer, beside two layers' weights if they do.

    Args:
        hidden, inner: widths of the language model.
        width: bytes of a value.
        visual, layer: bytes of the vision tower and of one language layer where they live on the host, else 0.
    """
    states = call.questions * call.tokens * hidden
    seen = min(call.at_once * call.patches, MOST_PATCHES) * (PATCH_VALUES + 2 * SEEN_WIDTH + 3 * SEEN_INNER)
    read = call.at_once * call.tokens * (2 * hidden + 2 * inner)
    return states * width + max(seen * width + visual, read * width + 2 * layer)
