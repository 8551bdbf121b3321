"""What the search cost, beside what a plain sample cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = {
    "model": "transformer",
    "decode": "decoding",
    "reward": "rewards",
    "text": "reading the prompt",
    "switch": "new prompts",
}
COUNTS = {
    "model_passes": "transformer passes",
    "latents_decoded": "latent frames decoded",
    "latents_drafted": "latent frames decoded by the draft",
    "reward_calls": "reward calls",
}


@dataclass(frozen=True)
class Part:
    """A share of the seconds; ``share`` is 0..1 of the total."""

    name: str
    label: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Count:
    """A kind of work; ``baseline`` is the plain sample's, None where there is none."""

    label: str
    value: int
    baseline: int | None

    @property
    def times(self) -> str:
        """How many times the baseline's."""
        return f"{self.value / self.baseline:.1f}\N{MULTIPLICATION SIGN}" if self.baseline else ""


@dataclass(frozen=True)
class RunCost:
    """All of it; ``baseline_seconds`` is None where there is no plain sample."""

    seconds: float
    baseline_seconds: float | None
    parts: tuple[Part, ...]
    counts: tuple[Count, ...]


def sum_up(cost: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> RunCost:
    """The cost of a ``RunFinished``, and of the baseline's."""
    seconds: dict[str, float] = dict(cost.get("seconds") or {})
    total = seconds.pop("total", sum(seconds.values()))
    seconds["other"] = max(0.0, total - sum(seconds.values()))
    parts = [Part(kind, KINDS.get(kind, kind), spent, spent / total if total else 0) for kind, spent in seconds.items()]
    counts = [
        Count(label, int(cost.get(name, 0)), int(baseline[name]) if baseline and name in baseline else None)
        for name, label in COUNTS.items()
        if cost.get(name)
    ]
    plain = (baseline.get("seconds") or {}).get("total") if baseline else None
    return RunCost(total, plain, tuple(sorted(parts, key=lambda part: -part.seconds)), tuple(counts))
