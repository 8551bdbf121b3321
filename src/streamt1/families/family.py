"""What a family of models says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from streamt1.config.schema import Placement, RunConfig
from streamt1.core.protocols import Encoder

Builder = Callable[[RunConfig, torch.device], Any]
"""Imports what it builds only when it is asked, so that no preset needs what another one imports."""

EncoderBuilder = Callable[[RunConfig, Any], Encoder]
"""What encodes with the weights of a decoder that is loaded."""

PHASES = ("encode", "denoise", "decode", "score", "commit")
"""What a run does one after another: the prompt; then, chunk by chunk, candidates, pixels, scores, memory."""


Holds = Literal["all", "generator", "rewards"]
"""What a device loads: all models, or the backbone and the decoders, or the rewards."""


@dataclass(frozen=True)
class Part:
    """One thing that needs room.

    Attributes:
        name: for people.
        bytes: how much.
        phases: when it is there.
        note: where it is otherwise, or what the number is made of.
        place: on the device, or in the host's memory.
        of: what it belongs to; ``all`` needs it wherever anything is loaded.
    """

    name: str
    bytes: float
    phases: tuple[str, ...] = PHASES
    note: str = ""
    place: Literal["device", "host"] = "device"
    of: Holds = "all"


Needs = Callable[[RunConfig], Callable[[Placement, int], Iterator[Part]]]
"""configuration -> (placement, candidates at once) -> all that takes room, on the device and on the host.

Files are read in the first call, and not for every placement that is tried.
"""

Spare = Callable[[RunConfig, Placement], Iterator[tuple[str, Iterable[Any]]]]
"""(configuration, placement) -> keys of a placement that use spare room, most useful first, each with rising values."""
PagesRead = Callable[[RunConfig, Placement], tuple[float, float]]
"""(configuration, placement) -> bytes of pages over the bus in a chunk, and how many numbers of pages are read."""


@dataclass(frozen=True)
class Family:
    """Models that belong together. Every table goes from a name that configurations use to what builds it.

    Attributes:
        read_prompt: raises ``PromptError`` for a prompt that the backbones cannot read; needs no weights.
        needs: of memory; None for models that run in less than 1 GB.
        spare: what is done with room that a placement leaves; None for nothing.
        pages_read: by the passes of a chunk, when memory is full; None where that is not planned.
        encoders: by the decoder whose weights they encode with.
        check_files: raises ``CheckpointError`` for files that are missing, not whole or that do not fit, before any is
            loaded; None for models that ship in the package.
    """

    backbones: Mapping[str, Builder]
    decoders: Mapping[str, Builder]
    frame_rewards: Mapping[str, Builder]
    clip_rewards: Mapping[str, Builder]
    read_prompt: Callable[[str], object]
    needs: Needs | None = None
    spare: Spare | None = None
    pages_read: PagesRead | None = None
    check_files: Callable[[RunConfig], None] | None = None
    encoders: Mapping[str, EncoderBuilder] = field(default_factory=dict)
