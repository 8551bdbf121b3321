"""Every file of a preset, tiny and random, in the official layouts: what wrong files are made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from streamt1.config.load import load_config
from streamt1.config.schema import RunConfig
from streamt1.decoders.taehv import TAEHV, TAEHVConfig
from streamt1.rewards import hpsv3, videoreward
from streamt1.rewards.network import Qwen2VL
from tests.e2e.test_official_layouts import tiny_preset, write_longlive, write_wan
from tests.rewards.tiny_qwen import base_of, official_names

WAN = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
LONGLIVE = "Efficient-Large-Model/LongLive-1.3B/models"
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def write_all(root: Path) -> None:
    """All of it below ``root``; the preset that names it is ``tiny.yaml``."""
    write_wan(root)
    write_longlive(root)
    torch.save(TAEHV(TAEHVConfig(channels=4, widths=(8, 8, 8, 8))).state_dict(), root / "draft.pth")
    for name in ("hpsv3", "videoreward"):
        _write_words(base_of(root / f"{name}_base"))
        (root / f"{name}.py").write_text("".join(f"{key} = {text!r}\n" for key, text in template(name).items()))
    _write_hpsv3(root)
    _write_videoreward(root)
    files = {
        "draft": root / "draft.pth",
        "hpsv3": root / "HPSv3.safetensors",
        "videoreward": root / "VideoReward",
        **{f"{name}_base": root / f"{name}_base" for name in ("hpsv3", "videoreward")},
        **{f"{name}_template": root / f"{name}.py" for name in ("hpsv3", "videoreward")},
    }
    preset = tiny_preset(root / "tiny.yaml", "longlive", {name: str(path) for name, path in files.items()})
    keys = yaml.safe_load(preset.read_text()) | {
        "frame_reward": "hpsv3",
        "clip_reward": "videoreward",
        "draft": "taehv",
    }
    preset.write_text(yaml.safe_dump(keys))


def config_of(root: Path) -> RunConfig:
    """The configuration of files that ``write_all`` wrote, wherever they have been copied to."""
    config = load_config(str(root / "tiny.yaml"), {"models": str(root), "device": "cpu"})
    own = {key: str(root / Path(value).name) for key, value in config.files.items() if isinstance(value, str)}
    return config.model_copy(update={"files": {**config.files, **own}})


def know_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' texts are not part of this project: each constant is expected to hold ours."""
    for name in ("hpsv3", "videoreward"):
        for key, text in template(name).items():
            monkeypatch.setitem(_module(name).TEMPLATE, key, hashlib.sha256(text.encode()).hexdigest())


def template(name: str) -> dict[str, str]:
    """Constants of a template file: the last one holds the marks."""
    *first, last = _module(name).TEMPLATE
    return {**dict.fromkeys(first, "judge "), last: "{text_prompt} " + " ".join(_module(name).MARKS)}


def _module(name: str):
    return {"hpsv3": hpsv3, "videoreward": videoreward}[name]


def _write_words(base: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["<|endoftext|>", *SPECIAL, "system", "user", "assistant"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", additional_special_tokens=list(SPECIAL)
    ).save_pretrained(base)


def _write_hpsv3(root: Path) -> None:
    words = hpsv3.Words(root / "hpsv3_base", hpsv3.MARKS, "image")
    model = Qwen2VL(root / "hpsv3_base", words.size)
    head = nn.Sequential(
        nn.Linear(model.hidden, 1024), nn.ReLU(), nn.Dropout(0.05), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
    )
    heads = {f"rm_head.{key}": value for key, value in head.state_dict().items()}
    save_file({**official_names(model), **heads}, root / "HPSv3.safetensors")


def _write_videoreward(root: Path) -> None:
    words = videoreward.Words(root / "videoreward_base", videoreward.MARKS, "video")
    model = Qwen2VL(root / "videoreward_base", words.size)
    state = {}
    for key, value in official_names(model).items():
        name, (stem, kind) = f"base_model.model.{key}", key.rsplit(".", 1)
        if key.endswith("proj.weight") and "layers" in key:
            state[f"base_model.model.{stem}.base_layer.{kind}"] = value
            state[f"base_model.model.{stem}.lora_A.default.weight"] = torch.randn(2, value.shape[1])
            state[f"base_model.model.{stem}.lora_B.default.weight"] = torch.randn(value.shape[0], 2)
        else:
            state[name.replace("proj.bias", "proj.base_layer.bias") if "layers" in key else name] = value
    state["base_model.model.rm_head.weight"] = torch.randn(1, model.hidden)
    folder = root / "VideoReward" / "checkpoint-7"
    folder.mkdir(parents=True)
    torch.save(state, folder / "model.pth")
    settings = {
        "model_config": {"output_dim": 1}, "peft_lora_config": {"lora_alpha": 4, "lora_r": 2},
        "data_config": {"fps": 2, "max_frame_pixels": 200704},
        "inference_config": {f"{head}_{kind}": 1.0 for head in videoreward.HEADS for kind in ("mean", "std")},
    }  # fmt: skip
    (root / "VideoReward" / "model_config.json").write_text(json.dumps(settings))
