"""Randomness as an argument: every candidate has its own generator, derived from where it stands in the search."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.validation import check_whole


def derive_seed(run_seed: int, chunk: int, beam: int, candidate: int, purpose: str = "noise") -> int:
    """A 63-bit seed that depends on every argument and collides with no other in practice.

    The official code adds ``1000 * chunk + 100 * beam + candidate`` to the run's seed, which collides once a search is
    more than 100 wide (SPEC section 9, item 7); a hash does not.
    """
    key = f"{run_seed}/{chunk}/{beam}/{candidate}/{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def generator(seed: int) -> torch.Generator:
    """A CPU generator: the same numbers on every machine and for every device that the model runs on."""
    return torch.Generator("cpu").manual_seed(seed)


def draw_noise(seed: int, shape: tuple[int, ...], draws: int) -> tuple[Tensor, Tensor]:
    """What a candidate's generator draws, in the official order: initial noise, then that between the steps.

    Args:
        shape: ``(F, C, H, W)`` of a chunk.
        draws: how often noise is drawn between the steps.

    Returns:
        ``[F, C, H, W]`` and ``[draws, F, C, H, W]``, standard normal, float32.
    """
    own = generator(seed)
    noise = torch.randn(shape, generator=own)
    fresh = noise.new_empty(draws, *shape)
    for step in fresh:
        torch.randn(shape, generator=own, out=step)
    return noise, fresh


def check_seed(seed: int) -> None:
    """Raises ``ConfigError`` for a seed that is no whole number of 64 bits, as files and generators hold it."""
    check_whole("seed", seed)
    if not -(2**63) <= seed < 2**63:
        raise ConfigError(f"seed={str(seed)[:40]} must lie in -2**63 .. 2**63 - 1")
