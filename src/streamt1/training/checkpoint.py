"""What a run needs to go on as if it had never been left: weights, optimisers, generators, and means so far."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from streamt1.core.errors import CheckpointError, ConfigError
from streamt1.core.files import whole_file
from streamt1.core.weights import one_line

Settings = Mapping[str, Any]


class Stateful(Protocol):
    """Anything with a state that a checkpoint can hold."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass
class Standing:
    """Where a run stands.

    Attributes:
        done: steps.
        seconds: spent, over all resumed runs.
        sums: of what the steps since the last line of the log returned.
        counted: how many steps those are.
    """

    done: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0


def save(file: Path, parts: Mapping[str, Stateful], standing: Standing, settings: Settings, device: str) -> None:
    """Writes a checkpoint, or leaves the one before. Raises ``OutputError``."""
    states = {key: part.state_dict() for key, part in parts.items()}
    state = {**vars(standing), "settings": dict(settings), "random": random_state(device), "parts": states}
    with whole_file(file) as part, part.open("wb") as opened:
        torch.save(state, opened)


def restore(file: Path, parts: Mapping[str, Stateful], settings: Settings, device: str) -> Standing:
    """Puts a checkpoint's state into ``parts`` and the generators. Those of 0.1 hold no settings and no generators.

    Raises:
        CheckpointError: the file is damaged, or of another model.
        ConfigError: it was made with other settings.
    """
    saved = read_tensors_of(file, "delete it to start again")
    try:
        made_with = saved.get("settings", {})
        check_settings(file, made_with, settings)
        for key, part in parts.items():
            part.load_state_dict(saved["parts"][key])
        if "random" in saved:
            set_random_state(saved["random"], device)
        standing = Standing(int(saved["done"]), float(saved["seconds"]))
        if made_with:
            standing.sums, standing.counted = dict(saved["sums"]), int(saved["counted"])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"cannot resume from {file} ({type(error).__name__}: {one_line(error)}); delete it to start again"
        ) from error
    return standing


def read_tensors_of(file: Path, advice: str) -> dict[str, Any]:
    """What ``torch.save`` wrote, without running code from it; ``advice`` ends the sentence about a damaged file.

    Raises:
        CheckpointError: whatever is wrong with the file.
    """
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle makes torch raise nearly anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise CheckpointError(f"cannot read {file} ({reason}); {advice}") from error
    if not isinstance(saved, dict):
        raise CheckpointError(f"cannot read {file} (it holds no dictionary); {advice}")
    return saved


def check_settings(file: Path, made_with: Settings, settings: Settings) -> None:
    """Raises ``ConfigError`` that names the first key which differs."""
    for key, value in settings.items():
        if key in made_with and made_with[key] != value:
            raise ConfigError(
                f"cannot go on with {file}: it was made with {key} {made_with[key]}, and {key} is {value} now;"
                f" set {key} as before, or start again with --no-resume or in another folder"
            )


def seed_generators(seed: int) -> None:
    """Python's and NumPy's global generators; stages seed torch's themselves, before they make their networks."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_state(device: str) -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's global generators."""
    version, numbers, gauss = random.getstate()
    numpy = dict(np.random.get_state(legacy=False))
    kept = {**numpy, "state": {"key": torch.from_numpy(numpy["state"]["key"].astype(np.int64))}}
    kept["position"] = numpy["state"]["pos"]
    state = {"python": [version, torch.tensor(numbers), gauss], "numpy": kept, "torch": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: str) -> None:
    """Restores what ``random_state`` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    numpy = dict(state["numpy"])
    key = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**numpy, "state": {"key": key, "pos": numpy.pop("position")}})
    torch.set_rng_state(state["torch"])
    if torch.device(device).type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
