"""From names to models. A new family is one line here."""

from __future__ import annotations

from typing import Any

import torch

from streamt1.config.schema import RunConfig
from streamt1.core.devices import enough_memory, resolve_device
from streamt1.core.errors import SHOWN, ConfigError, PromptError, UnknownNameError
from streamt1.core.protocols import ClipReward, Elsewhere, FrameReward, Models
from streamt1.core.validation import is_text
from streamt1.families.family import Family, Holds
from streamt1.families.pocket import POCKET
from streamt1.families.wan import WAN

FAMILIES = (POCKET, WAN)


def family_of(config: RunConfig) -> Family:
    """The family that builds a configuration's backbone. Raises ``UnknownNameError``."""
    for family in FAMILIES:
        if config.backbone in family.backbones:
            return family
    raise UnknownNameError("backbone", config.backbone, [name for family in FAMILIES for name in family.backbones])


def check_prompt(config: RunConfig, prompt: str) -> None:
    """Raises ``PromptError`` for a prompt that a configuration's backbone cannot read; needs no weights.

    A backbone of no family, whose models are a user's own, reads any text.
    """
    if not isinstance(prompt, str):
        raise PromptError(f"a prompt is text, not {type(prompt).__name__}: {repr(prompt)[:SHOWN]}")
    if not prompt.strip():
        raise PromptError("the prompt is empty: say what the video should show")
    if not is_text(prompt):
        raise PromptError(f"the prompt {prompt[:SHOWN]!r} holds bytes that are no UTF-8 text: write it again")
    for family in FAMILIES:
        if config.backbone in family.backbones:
            family.read_prompt(prompt)


def check_files(config: RunConfig) -> None:
    """Every file that a configuration's models will read, before any is loaded.

    Raises:
        CheckpointError: the first that is missing, not whole, or does not fit; it says what the file is instead.
    """
    check = family_of(config).check_files
    if check is not None:
        check(config)


def build(config: RunConfig, checked: bool = False, holds: Holds = "all") -> Models:
    """Loads everything that a run needs, once its files have been looked at, unless they are ``checked`` already.

    Args:
        holds: what of it; in place of the rest the models have ``core.protocols.Elsewhere``.

    Raises:
        UnknownNameError: a name that no family builds.
        ConfigError: a device that this machine lacks, or ``compile`` where torch finds nothing to compile with.
        CheckpointError: weights that are missing or damaged.
        OutOfMemoryError: they do not fit.
    """
    device = resolve_device(config.device)
    if config.compile and holds != "rewards":
        _check_compiler(device)
    if not checked:
        check_files(config)
    with enough_memory("the models were loaded"):
        return _loaded(config, device, holds)


def _loaded(config: RunConfig, device: torch.device, holds: Holds) -> Models:
    nothing: Any = Elsewhere()
    rewards = (nothing, nothing) if holds == "generator" else build_rewards(config, device)
    return Models(nothing, nothing, *rewards) if holds == "rewards" else _generating(config, device, rewards)


def _generating(config: RunConfig, device: torch.device, rewards: tuple[FrameReward, ClipReward]) -> Models:
    backbone = _built("backbone", "backbones", config.backbone, config, device)
    if config.compile:
        if not hasattr(backbone, "model"):
            raise ConfigError(f"compile: true is for transformers; backbone {config.backbone!r} has no blocks")
        backbone.model.compile_blocks()
    decoder = _built("decoder", "decoders", config.decoder, config, device)
    draft = _built("draft decoder", "decoders", config.draft, config, device) if config.draft else None
    encoders = {name: builder for family in FAMILIES for name, builder in family.encoders.items()}
    encoder = encoders[config.decoder](config, decoder) if config.decoder in encoders else None
    return Models(backbone, decoder, *rewards, draft, encoder=encoder)


def build_rewards(config: RunConfig, device: torch.device) -> tuple[FrameReward, ClipReward]:
    """The two rewards alone. Raises what ``build`` raises."""
    return (
        _built("frame reward", "frame_rewards", config.frame_reward, config, device),
        _built("clip reward", "clip_rewards", config.clip_reward, config, device),
    )


def _built(kind: str, table: str, name: str, config: RunConfig, device: torch.device) -> Any:
    builders = {known: builder for family in FAMILIES for known, builder in getattr(family, table).items()}
    if name not in builders:
        raise UnknownNameError(kind, name, builders)
    return builders[name](config, device)


def _check_compiler(device: torch.device) -> None:
    """Raises ``ConfigError`` now, and not in the middle of the first chunk."""
    try:
        torch.compile(lambda x: x.exp() + 1)(torch.zeros(1, device=device))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"compile: true does not work here ({reason}); install a C++ compiler (for CUDA, Triton), or leave it out"
        ) from error
