"""A real run at full width and few layers, from files in the official layouts: what the plan says of the host's memory.

Slow: it writes 6 GB of random weights, and needs about 14 GB of memory.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.config.load import load_config
from streamt1.families.wan_sizes import REWARDS
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.words import Words
from tests.e2e.test_official_layouts import PROMPT, write_wan
from tests.parity.goldens import reward_sets, template_file

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

LAYERS, DTYPE = 2, torch.bfloat16
MARKS = ("<|VQ_reward|>", "<|MQ_reward|>", "<|TA_reward|>")


def random_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: (torch.randn(part.shape) * 0.02).to(DTYPE) for name, part in model.state_dict().items()}


def write_transformer(root: Path) -> Path:
    with torch.device("meta"):
        model = WanModel(WanConfig(num_layers=LAYERS))
    save_file(random_weights(model), root / "transformer.safetensors")
    return root / "transformer.safetensors"


def write_text_encoder(root: Path) -> Path:
    config = transformers.UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=LAYERS, num_heads=64,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.UMT5EncoderModel(config)
    config.save_pretrained(root / "text_encoder")
    weights = random_weights(model)
    del weights["encoder.embed_tokens.weight"]
    save_file(weights, root / "text_encoder" / "model.safetensors")
    return root / "text_encoder"


def write_vae(root: Path) -> Path:
    vae = diffusers.AutoencoderKLWan().to(DTYPE)
    vae.save_pretrained(root / "vae")
    return root / "vae"


def write_reward(name: str, marks: tuple[str, ...], golden: Path, root: Path) -> tuple[Path, dict[str, Tensor]]:
    """The tokenizer of a golden set under a configuration of full width, and weights for it."""
    sizes, base = REWARDS[name], root / f"{name}_base"
    shutil.copytree(golden / "base", base)
    told = json.loads((base / "config.json").read_text())
    told |= {
        "hidden_size": sizes.hidden, "intermediate_size": sizes.feed, "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.groups, "num_hidden_layers": LAYERS, "vocab_size": told["vocab_size"],
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    told["vision_config"] |= {"depth": LAYERS, "embed_dim": 1280, "hidden_size": sizes.hidden, "num_heads": 16}
    (base / "config.json").write_text(json.dumps(told))
    return base, random_weights(Qwen2VL(base, Words(base, marks, "image").size).qwen)


def official(name: str) -> str:
    return name.replace("language_model.", "model.", 1)


def write_hpsv3(golden: Path, root: Path) -> dict[str, str]:
    base, weights = write_reward("hpsv3", ("<|Reward|>",), golden, root)
    head = nn.Sequential(
        nn.Linear(3584, 1024), nn.ReLU(), nn.Dropout(), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
    )
    named = {official(key): value for key, value in weights.items()}
    save_file(named | {f"rm_head.{k}": v for k, v in random_weights(head).items()}, root / "HPSv3.safetensors")
    template = template_file(golden, "single0", ("<|Reward|>",), "image", root / "frames.py")
    return {"hpsv3": str(root / "HPSv3.safetensors"), "hpsv3_base": str(base), "hpsv3_template": str(template)}


def write_videoreward(golden: Path, root: Path) -> dict[str, str]:
    base, weights = write_reward("videoreward", MARKS, golden, root)
    folder, rank = root / "VideoReward", 64
    told = json.loads((golden / "VideoReward" / "model_config.json").read_text())
    told["peft_lora_config"] |= {"lora_r": rank, "lora_alpha": 2 * rank}
    (folder / "checkpoint-1").mkdir(parents=True)
    (folder / "model_config.json").write_text(json.dumps(told))
    named: dict[str, Tensor] = {"base_model.model.rm_head.weight": torch.randn(1, 1536).to(DTYPE)}
    for key, value in weights.items():
        name = f"base_model.model.{official(key)}"
        if "language_model.layers" in key and key.endswith("proj.weight"):
            stem = name.removesuffix(".weight")
            named[f"{stem}.lora_A.default.weight"] = torch.randn(rank, value.shape[1]).to(DTYPE)
            named[f"{stem}.lora_B.default.weight"] = torch.zeros(value.shape[0], rank, dtype=DTYPE)
            name = f"{stem}.base_layer.weight"
        elif "language_model.layers" in key and key.endswith("proj.bias"):
            name = name.replace(".bias", ".base_layer.bias")
        named[name] = value
    torch.save(named, folder / "checkpoint-1" / "model.pth")
    template = template_file(golden, "clip0", MARKS, "video", root / "clips.py")
    return {"videoreward": str(folder), "videoreward_base": str(base), "videoreward_template": str(template)}


class Resident:
    """The most memory of its own that this process holds while it works, read every few milliseconds.

    Pages of files that are mapped are left out: the system takes them back when it needs room.
    """

    def __init__(self) -> None:
        self.most, self._ends = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Resident:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.is_set():
            self.most = max(self.most, now())
            time.sleep(0.005)


def now() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def test_the_host_needs_what_the_plan_says(tmp_path: Path) -> None:
    from streamt1.pipeline.pipeline import Pipeline

    hpsv3, videoreward = (next(iter(reward_sets(name)), None) for name in ("hpsv3", "videoreward"))
    if hpsv3 is None or videoreward is None:
        pytest.skip("the golden sets of the rewards are not here")
    write_wan(tmp_path / "tiny")
    files = {
        "transformer": str(write_transformer(tmp_path)), "lora": None,
        "text_encoder": str(write_text_encoder(tmp_path)),
        "tokenizer": str(tmp_path / "tiny" / "Wan-AI" / "Wan2.1-T2V-1.3B-Diffusers" / "tokenizer"),
        "vae": str(write_vae(tmp_path)), **write_hpsv3(hpsv3, tmp_path), **write_videoreward(videoreward, tmp_path),
    }  # fmt: skip
    keys = {
        "extends": "longlive", "files": files, "device": "cpu", "dtype": "float32",
        "wan": {"size": {"num_layers": LAYERS}, "height": 64, "width": 96, "lora_alpha": None, "steps": [1000]},
        "search": {"top_k": 1},
    }  # fmt: skip
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(keys))
    config = load_config(str(tmp_path / "wide.yaml"))
    with Resident() as resident:
        pipeline = Pipeline(config)
        assert pipeline.plan is not None
        run = pipeline.run(PROMPT, chunks=2)
    assert len(run.frames) == 9 + 12
    planned = pipeline.plan.host_peak
    assert resident.most == pytest.approx(planned, rel=0.1), "\n".join(pipeline.plan.lines())
