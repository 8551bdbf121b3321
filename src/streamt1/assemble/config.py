"""A run's configuration: presets, files and overrides, checked key by key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from streamt1.assemble.files import Origin
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.core.keys import check_names, validated
from streamt1.memory import MemoryConfig
from streamt1.search.policies import SearchConfig, apply_policy

PRESETS = resources.files("streamt1.assemble") / "presets"


class WanSettings(BaseModel):
    """What is to be generated with a Wan transformer, and how.

    Attributes:
        size: ``1.3B``, ``14B``, or the keys of ``WanConfig`` for another.
        height, width: of the video, pixels; multiples of 16.
        lora_alpha: scale of low-rank updates times their rank; None means equal to the rank.
        steps, shift: see ``Schedule``.
        fps: pixel frames per second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str | dict[str, Any] = "1.3B"
    height: int = Field(default=480, ge=16, multiple_of=16)
    width: int = Field(default=832, ge=16, multiple_of=16)
    lora_alpha: float | None = None
    steps: tuple[int, ...] = (1000, 750, 500, 250)
    shift: float = 5.0
    fps: int = Field(default=16, ge=1)


class Batches(BaseModel):
    """How much goes through a model at once. Results do not depend on it, memory does.

    Attributes:
        codec: candidates that are decoded together.
        frame_reward: pictures that are judged together.
        clip_reward: clips that are judged together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: int = Field(default=1, ge=1)
    frame_reward: int = Field(default=4, ge=1)
    clip_reward: int = Field(default=1, ge=1)


class Placement(BaseModel):
    """What stays on the device; see ``assemble.memory_plan``.

    Attributes:
        text_encoder: ``host`` brings it over for a prompt and puts it back.
        rewards: ``host`` brings each over for a chunk and puts it back.
        reward_bits: of the weights of the rewards' language layers; 8 and 4 need torchao.
        decoder_states: where the features are kept that the decoder carries from chunk to chunk, one set a candidate.
        kv: where the memory's pages are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_encoder: Literal["device", "host"] = "device"
    rewards: Literal["device", "host"] = "device"
    reward_bits: Literal[16, 8, 4] = 16
    decoder_states: Literal["device", "host"] = "device"
    kv: Literal["device", "host"] = "device"


class RunConfig(BaseModel):
    """Everything that decides a run, but for its prompt, length and seed.

    Attributes:
        about: one line for people.
        backbone, frame_reward, clip_reward, codec: registered names, see ``assemble.build``.
        draft: a codec that shows candidates to the rewards in ``codec``'s place, which then decodes only what leaves;
            ``taehv`` for Wan, its weights in ``files.draft``. None: ``codec`` does both.
        memory: window and sinks, in latent frames.
        policy: see ``search.policies.POLICIES``.
        search: its settings, before the policy is applied.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: what the transformer computes in.
        compile: compile the transformer's blocks (``torch.compile``); the first chunks then take a minute or so longer.
        wan: settings of Wan's models, where they are used.
        batches: how much goes through a model at once.
        placement: what stays on the device.
        files: where weights are, by the names that the builders use: a path, or an origin to download from.
        models: folder of downloads; None means the hub's cache.
        threads: CPU threads of torch, for the whole process; None leaves them as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    backbone: str = "pocket"
    frame_reward: str = "pocket"
    clip_reward: str = "pocket"
    codec: str = "pocket"
    draft: str | None = None
    memory: MemoryConfig = MemoryConfig()
    policy: str = "stream_t1"
    search: SearchConfig = SearchConfig()
    device: str = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    wan: WanSettings = WanSettings()
    batches: Batches = Batches()
    placement: Placement = Placement()
    files: dict[str, str | Origin] = {}
    models: str | None = None
    threads: int | None = Field(default=None, ge=1)

    @property
    def effective_search(self) -> SearchConfig:
        """The search settings with the policy applied."""
        return apply_policy(self.policy, self.search)

    def with_policy(self, policy: str) -> RunConfig:
        """The same run under another policy."""
        return self.model_copy(update={"policy": policy})


def preset_names() -> list[str]:
    """Names of the presets that ship in the package."""
    return sorted(Path(file.name).stem for file in PRESETS.iterdir() if file.name.endswith(".yaml"))


def load_config(preset: str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of a preset, with some keys replaced.

    Args:
        preset: a preset's name, or the path of a YAML file of the same form (it may say ``extends: NAME``).
        overrides: dotted keys, such as ``{"search.top_k": 4}``.

    Raises:
        UnknownNameError: a preset or key that does not exist; the message names the nearest.
        ConfigError: a value that does not fit.
    """
    merged = _read(preset)
    for key, value in (overrides or {}).items():
        *parents, leaf = key.split(".")
        target = merged
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"config key {key!r}: {parent!r} has no keys of its own")
        target[leaf] = value
    return _checked(merged)


def _read(preset: str) -> dict[str, Any]:
    """The merged keys of a preset and of what it extends."""
    if preset.endswith((".yaml", ".yml")):
        text = _file_text(Path(preset))
    elif preset in preset_names():
        text = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8")
    else:
        raise UnknownNameError("preset", preset, preset_names())
    try:
        own = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{preset} is not valid YAML: {error}") from error
    if not isinstance(own, dict):
        raise ConfigError(f"{preset} must hold keys and values, not {type(own).__name__}")
    base = _read(own.pop("extends")) if "extends" in own else {}
    return {**base, **{key: _joined(base.get(key), value) for key, value in own.items()}}


def _joined(base: Any, own: Any) -> Any:
    """Keys of a part over those that it extends; ``null`` takes one away."""
    if not isinstance(own, dict):
        return own
    merged = {**(base if isinstance(base, dict) else {}), **own}
    return {key: value for key, value in merged.items() if value is not None}


def _file_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the preset file {path}: {error}") from error


def _checked(keys: dict[str, Any]) -> RunConfig:
    check_names("config key", keys, RunConfig.model_fields)
    for part, cls in (("memory", MemoryConfig), ("search", SearchConfig)):
        if not isinstance(keys.get(part, {}), dict):
            raise ConfigError(f"config key {part!r} must hold keys and values")
        names = [field.name for field in dataclasses.fields(cls)]
        check_names(f"{part} key", keys.get(part, {}), names)
    config = validated(RunConfig, keys, "config key")
    apply_policy(config.policy, config.search)
    return config
