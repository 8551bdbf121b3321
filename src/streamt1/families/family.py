"""What a family of models says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from streamt1.config.schema import Placement, RunConfig

Builder = Callable[[RunConfig, torch.device], Any]
"""Imports what it builds only when it is asked, so that no preset needs what another one imports."""

PHASES = ("encode", "denoise", "decode", "score")
"""What a run does one after another: the prompt; then, chunk by chunk, candidates, pixels, scores."""


@dataclass(frozen=True)
class Part:
    """One thing that needs room on the device.

    Attributes:
        name: for people.
        bytes: how much.
        phases: when it is there.
        note: where it is otherwise, or what the number is made of.
    """

    name: str
    bytes: float
    phases: tuple[str, ...] = PHASES
    note: str = ""


Needs = Callable[[RunConfig, Placement, int], Iterator[Part]]
"""(configuration, placement, candidates at once) -> all that takes room on the device."""


@dataclass(frozen=True)
class Family:
    """Models that belong together. Every table goes from a name that configurations use to what builds it.

    Attributes:
        read_prompt: raises ``PromptError`` for a prompt that the backbones cannot read; needs no weights.
        needs: of memory; None for models that run in less than 1 GB.
        check_files: raises ``CheckpointError`` for files that are missing, not whole or that do not fit, before any is
            loaded; None for models that ship in the package.
    """

    backbones: Mapping[str, Builder]
    decoders: Mapping[str, Builder]
    frame_rewards: Mapping[str, Builder]
    clip_rewards: Mapping[str, Builder]
    read_prompt: Callable[[str], object]
    needs: Needs | None = None
    check_files: Callable[[RunConfig], None] | None = None
