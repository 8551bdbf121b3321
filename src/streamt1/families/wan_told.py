"""Sizes of the text encoder and the rewards as the user's own files tell them; the official ones where none is here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from streamt1.config.schema import RunConfig
from streamt1.core.errors import StreamT1Error
from streamt1.core.json_files import read_json
from streamt1.families.wan_files import file_of
from streamt1.families.wan_sizes import REWARDS, RewardSizes, TextSizes


def text_sizes(config: RunConfig) -> TextSizes:
    """Of the text encoder."""
    told = _told(config, "text_encoder", "config.json")
    names = {
        "words": "vocab_size", "dim": "d_model", "feed": "d_ff", "layers": "num_layers", "heads": "num_heads",
        "buckets": "relative_attention_num_buckets",
    }  # fmt: skip
    sizes = _replaced(TextSizes(), told, names)
    return dataclasses.replace(sizes, inner=sizes.heads * told["d_kv"]) if isinstance(told.get("d_kv"), int) else sizes


def reward_sizes(config: RunConfig) -> dict[str, RewardSizes]:
    """Of the rewards that a configuration asks for, by their names."""
    return {name: _of_reward(config, name) for name in (config.frame_reward, config.clip_reward) if name in REWARDS}


def _of_reward(config: RunConfig, name: str) -> RewardSizes:
    told = _told(config, f"{name}_base", "config.json")
    names = {
        "hidden": "hidden_size", "feed": "intermediate_size", "heads": "num_attention_heads",
        "groups": "num_key_value_heads", "words": "vocab_size", "layers": "num_hidden_layers",
    }  # fmt: skip
    sizes = _replaced(REWARDS[name], told, names)
    sizes = _replaced(sizes, told.get("vision_config"), {"width": "embed_dim", "depth": "depth"})
    if not sizes.rank:
        return sizes
    return _replaced(sizes, _told(config, name, "model_config.json").get("peft_lora_config"), {"rank": "lora_r"})


def _told(config: RunConfig, key: str, name: str) -> dict[str, Any]:
    """A folder's JSON, as far as it is here and can be read; whether it is right is looked at elsewhere."""
    try:
        return read_json(file_of(config, key) / name)
    except StreamT1Error:
        return {}


def _replaced(sizes: Any, told: object, names: Mapping[str, str]) -> Any:
    if not isinstance(told, Mapping):
        return sizes
    found = {ours: told[theirs] for ours, theirs in names.items() if isinstance(told.get(theirs), int)}
    return dataclasses.replace(sizes, **found)
