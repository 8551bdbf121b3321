"""Named assemblies of the three units. A policy is a configuration, not a class: every one runs in the same loop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.core.validation import check_numbers
from streamt1.search.memory_sinking import ShortBaseline
from streamt1.search.noise_propagation import SeedRule

Pruning = Literal["reward", "random", "scene", "final"]
Decode = Literal["streaming", "official"]
STEEPEST = 50
"""Of ``taper`` and ``adaptive``: steeper makes no other widths, and numbers of a video of a day overflow at 60."""
_CHOICES = {"pruning": Pruning, "short_baseline": ShortBaseline, "seeds": SeedRule, "decode": Decode}


@dataclass(frozen=True)
class SearchConfig:
    """How to search. The defaults are Stream-T1 with the paper's numbers and our corrections (SPEC section 4).

    Attributes:
        beam_size: candidates per beam and chunk; where fewer than ``top_k`` beams are left, they share the same total.
        top_k: beams that survive a chunk.
        propagation: whether a chunk's noise is fused with its parent's (section 3.2).
        pruning: ``reward`` keeps the best of every chunk (section 3.3); ``random`` keeps any, the ablation; ``final``
            keeps all, ``beam_size * top_k`` of them, and judges whole videos only; ``scene`` keeps all, and the best
            one at the end of every scene.
        sinking: whether rewards route what leaves the memory window (section 3.4); otherwise it is dropped.
        noise_strength: ``b`` of noise propagation, -1..1.
        window: chunks that the long reward sees.
        frames_scored: frames of a chunk that the frame reward looks at, evenly spaced; None for all.
        fusion_cap: highest weight of the short reward, 0..1.
        short_threshold, long_threshold: of the routing, in reward units.
        short_baseline: see ``memory_sinking.decide_route``.
        scene_sink: whether the first chunk of every scene but the first becomes a sink when it leaves the window.
        seeds: see ``noise_propagation.candidate_seed``.
        decode: ``streaming`` decodes each candidate's own chunk once; ``official`` decodes the chunk alone for the
            short reward and the window alone, again, for the long one.
        lag: chunks after which a chunk must be decided, so that its frames can leave; beams that descend from another
            one are dropped. 0 is greedy over the candidates of each chunk; None waits until all beams share a chunk.
        taper: how strongly the width falls towards the end, for the same total; 0 keeps it constant, as ``final`` and
            ``scene`` do whatever it is. See ``width.usual_widths``.
        adaptive: how strongly the width of a chunk follows the spread of the scores before it; 0 keeps it constant. See
            ``width.candidates_for``.
        budget_passes, budget_seconds: for a whole run; widths are cut so that it is kept. Of ``final`` and ``scene``
            the passes decide how many videos or samples of a scene are begun, all of which are made to their end.
        preview_step: denoising steps after which candidates are judged by a preview; None does not look. See
            ``early_pruning``.
        preview_keep: share of a chunk's candidates that are denoised to their end, above 0, at most 1.
        candidate_batch: most candidates per model pass; None for all of a chunk. It does not change the result beyond
            float noise.
    """

    beam_size: int = 2
    top_k: int = 2
    propagation: bool = True
    pruning: Pruning = "reward"
    sinking: bool = True
    noise_strength: float = -0.1
    window: int = 10
    frames_scored: int | None = None
    fusion_cap: float = 0.4
    short_threshold: float = 0.0
    long_threshold: float = 0.2
    short_baseline: ShortBaseline = "window"
    scene_sink: bool = False
    seeds: SeedRule = "fresh"
    decode: Decode = "streaming"
    candidate_batch: int | None = None
    lag: int | None = None
    taper: float = 0.0
    adaptive: float = 0.0
    preview_step: int | None = None
    preview_keep: float = 0.5
    budget_passes: int | None = None
    budget_seconds: float | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{field.name}={value} must be a finite number")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ConfigError(f"{name}={getattr(self, name)!r} is none of {known}")
        for name in ("beam_size", "top_k", "window"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if self.candidate_batch is not None and self.candidate_batch < 1:
            raise ConfigError(f"candidate_batch={self.candidate_batch} must be at least 1, or null for all")
        if self.frames_scored is not None and self.frames_scored < 1:
            raise ConfigError(f"frames_scored={self.frames_scored} must be at least 1, or null for all")
        if self.lag is not None and self.lag < 0:
            raise ConfigError(f"lag={self.lag} must be at least 0 chunks, or null to wait for agreement")
        if self.preview_step is not None and self.preview_step < 1:
            raise ConfigError(f"preview_step={self.preview_step} must be at least 1 denoising step, or null")
        if not 0 < self.preview_keep <= 1:
            raise ConfigError(f"preview_keep={self.preview_keep} must lie above 0, at most 1")
        for name in ("taper", "adaptive"):
            if not 0 <= getattr(self, name) <= STEEPEST:
                raise ConfigError(f"{name}={getattr(self, name)} must lie in 0..{STEEPEST}")
        for name in ("budget_passes", "budget_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name}={value} must be above 0, or null for no limit")
        if not -1 <= self.noise_strength <= 1:
            raise ConfigError(f"noise_strength={self.noise_strength} must lie in -1..1")
        if not 0 <= self.fusion_cap <= 1:
            raise ConfigError(f"fusion_cap={self.fusion_cap} must lie in 0..1")

    @property
    def keeps_all(self) -> bool:
        """Whether whole videos or whole scenes are judged, so that all are kept until then."""
        return self.pruning in ("final", "scene")

    @property
    def scores_chunks(self) -> bool:
        """Whether rewards are asked at every chunk, or only at the end."""
        return self.pruning == "reward" or self.sinking


def _greedy(config: SearchConfig) -> SearchConfig:
    units: dict[str, Any] = {"propagation": False, "pruning": "final", "sinking": False}
    return dataclasses.replace(config, beam_size=1, top_k=1, taper=0.0, adaptive=0.0, preview_step=None, **units)


def _best_of_n(config: SearchConfig) -> SearchConfig:
    width = config.beam_size * config.top_k
    return dataclasses.replace(_greedy(config), top_k=width)


def _best_of_n_per_scene(config: SearchConfig) -> SearchConfig:
    return dataclasses.replace(_best_of_n(config), pruning="scene")


def _beam(config: SearchConfig) -> SearchConfig:
    return dataclasses.replace(config, propagation=False, sinking=False)


POLICIES: dict[str, Callable[[SearchConfig], SearchConfig]] = {
    "greedy": _greedy,
    "best_of_n": _best_of_n,
    "best_of_n_per_scene": _best_of_n_per_scene,
    "beam": _beam,
    "stream_t1": lambda config: config,
}
"""greedy: one sample. best_of_n: ``beam_size * top_k`` whole videos, judged at the end. best_of_n_per_scene: so many of
each scene, of which the best is gone on with; a person can do that by hand. beam: search without propagation and
sinking. stream_t1: the units that the configuration switches on, by default all."""


def check_preview(config: SearchConfig) -> None:
    """Raises ``ConfigError`` for previews of what is to be kept; runs that were made so can still be opened."""
    if config.preview_step is not None and config.keeps_all:
        raise ConfigError(
            f"preview_step={config.preview_step} drops candidates by a preview, and pruning={config.pruning} keeps all"
            " until they are judged whole: leave one of them out"
        )


def check_endless(config: SearchConfig) -> None:
    """Raises ``ConfigError`` for settings that need to know the length of the video."""
    for name, why in (("taper", "widths taper towards the end"), ("budget_passes", "a budget is for a whole video"),
                      ("budget_seconds", "a budget is for a whole video")):  # fmt: skip
        if getattr(config, name):
            raise ConfigError(
                f"{name}={getattr(config, name)} cannot go with a video without an end: {why}; leave it out"
            )
    whole = {"final": "videos", "scene": "scenes"}.get(config.pruning)
    several = config.top_k > 1 or (whole is not None and config.beam_size > 1)
    if several and whole is not None:
        raise ConfigError(
            f"this policy judges whole {whole}, and of a video without an end it does not know where they end; use"
            " stream_t1 or beam"
        )
    if several and config.lag is None:
        raise ConfigError(
            "a video without an end needs a lag, after which chunks are final whatever the beams say; set search.lag=10"
        )


def for_endless(config: SearchConfig) -> SearchConfig:
    """The same settings with a lag as long as the reward's window, where there is none: see ``check_endless``."""
    return config if config.lag is not None else dataclasses.replace(config, lag=config.window)


def apply_policy(name: str, config: SearchConfig) -> SearchConfig:
    """The configuration of a named policy at the width that ``config`` asks for. Raises ``UnknownNameError``."""
    if name not in POLICIES:
        raise UnknownNameError("policy", name, POLICIES)
    return POLICIES[name](config)
