"""What stays on the device: computed before anything is loaded, from what a family says that its models need.

A reserve covers what frameworks keep for themselves.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

from streamt1.config.schema import Placement, RunConfig
from streamt1.core.errors import ConfigError
from streamt1.families.build import family_of
from streamt1.families.family import PHASES, Part

GB = 10**9
RESERVE = 1.5 * GB
"""For the driver, the libraries and fragmentation."""
UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class MemoryPlan:
    """A placement, what it needs, and what there is (bytes)."""

    placement: Placement
    candidate_batch: int
    parts: tuple[Part, ...]
    available: float

    def in_phase(self, phase: str) -> float:
        """Bytes that are needed at once in a phase, with the reserve."""
        return sum(part.bytes for part in self.parts if phase in part.phases) + RESERVE

    @property
    def peak(self) -> float:
        """The most that any phase needs."""
        return max(self.in_phase(phase) for phase in PHASES)

    @property
    def fits(self) -> bool:
        return self.peak <= self.available

    def applied(self, config: RunConfig) -> RunConfig:
        """The configuration with the plan put into effect."""
        search = dataclasses.replace(config.search, candidate_batch=self.candidate_batch)
        return config.model_copy(update={"placement": self.placement, "search": search})

    def lines(self) -> list[str]:
        """The plan as a table: parts, and when they are on the device."""
        rows = [f"  {'':24}{'GB':>8}  {'  '.join(PHASES)}"]
        for part in (*self.parts, Part("reserve", RESERVE)):
            marks = "  ".join(("x" if phase in part.phases else "").center(len(phase)) for phase in PHASES)
            rows.append(f"  {part.name:24}{part.bytes / GB:8.2f}  {marks}  {part.note}".rstrip())
        sums = "  ".join(f"{self.in_phase(phase) / GB:.1f}".center(len(phase)) for phase in PHASES)
        rows.append(f"  {'needed':24}{self.peak / GB:8.2f}  {sums}  of {self.available / GB:.1f} GB")
        return rows


def parse_size(text: str) -> float:
    """``24GB``, ``80 GiB`` or a number of bytes -> bytes. Raises ``ConfigError``."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in UNITS:
        raise ConfigError(f"{text!r} is not an amount of memory; write it like 24GB")
    if not match[2] and float(match[1]) < 1000:
        raise ConfigError(f"{text!r} would be {float(match[1]):g} bytes; write it like 24GB")
    return float(match[1]) * UNITS[match[2].upper()]


def needs_plan(config: RunConfig) -> bool:
    """Whether a configuration's models are so large that their placement must be planned."""
    return family_of(config).needs is not None


def plan_memory(config: RunConfig, available: float) -> MemoryPlan:
    """The first placement that fits, from everything on the device to everything elsewhere.

    Raises ``ConfigError`` with the numbers when not even the last one fits, or for a preset of other models.
    """
    needs = family_of(config).needs
    if needs is None:
        raise ConfigError(f"backbone {config.backbone!r} needs no memory plan: it runs in less than 1 GB")
    plan = None
    for placement, batch in _choices(config):
        plan = MemoryPlan(placement, batch, tuple(needs(config, placement, batch)), available)
        if plan.fits:
            return plan
    assert plan is not None
    raise ConfigError(
        f"{available / GB:.1f} GB do not hold this preset at any setting; the least it needs:\n"
        + "\n".join(plan.lines())
        + "\nuse a smaller height and width, fewer survivors (--top-k), or lighter rewards"
    )


def _choices(config: RunConfig) -> Iterator[tuple[Placement, int]]:
    """Placements from the fastest to the smallest; each gives up one thing more."""
    search = config.effective_search
    batch = search.candidate_batch or search.beam_size * search.top_k
    placement = Placement()
    yield placement, batch
    for changes in ({"text_encoder": "host"}, {"rewards": "host"}, {"decoder_states": "host"}, {"kv": "host"}):
        placement = placement.model_copy(update=changes)
        yield placement, batch
    while batch > 1:
        batch //= 2
        yield placement, batch
    for bits in (8, 4):
        yield placement.model_copy(update={"reward_bits": bits}), batch
