"""Random files at full width in the official layouts, as a preset that names them.

``python -m tests.e2e.full_width FOLDER [DEVICE]`` writes them at full depth, 45 GB, with numbers drawn on the device:
for `streamt1 doctor --try --preset FOLDER/full.yaml` without a download. The tokenizers are those of the golden sets.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from streamt1.backbones.wan.config import SIZES
from streamt1.backbones.wan.model import WanModel
from streamt1.families.wan_sizes import REWARDS
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.words import Words
from tests.e2e.test_official_layouts import lora_of, write_tokenizer
from tests.parity.goldens import reward_sets, template_file

DTYPE = torch.bfloat16
MARKS = ("<|VQ_reward|>", "<|MQ_reward|>", "<|TA_reward|>")
RANK = 256
"""Of LongLive's LoRA."""
ROWS = 256384
"""Of UMT5's word table."""


@dataclass(frozen=True)
class Writer:
    """Writes files into a folder. ``layers``: of every model, instead of its own; ``device``: where numbers are drawn.

    Needs the golden sets of the rewards.
    """

    root: Path
    layers: int | None = None
    device: str = "cpu"

    def preset(self, **keys: Any) -> Path:
        """Writes all of LongLive's files and a preset ``full.yaml`` over them; ``keys`` are its own."""
        files = {
            **self.transformer(), "text_encoder": self.text_encoder(), "tokenizer": self.tokenizer(), "vae": self.vae(),
            **self.hpsv3(), **self.videoreward(),
        }  # fmt: skip
        target = self.root / "full.yaml"
        target.write_text(yaml.safe_dump({"extends": "longlive", "files": files, **keys}))
        return target

    def drawn(self, *shape: int) -> Tensor:
        return (torch.randn(shape, device=self.device) * 0.02).to("cpu", DTYPE)

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: self.drawn(*part.shape) for name, part in model.state_dict().items()}

    def transformer(self) -> dict[str, str | None]:
        """At full depth as LongLive ships it, in float32 and with its LoRA; else a bare file."""
        sizes = SIZES["1.3B"] if self.layers is None else dataclasses.replace(SIZES["1.3B"], num_layers=self.layers)
        with torch.device("meta"):
            model = WanModel(sizes)
        state = self.weights(model)
        if self.layers is not None:
            save_file(state, self.root / "transformer.safetensors")
            return {"transformer": str(self.root / "transformer.safetensors"), "lora": None}
        named = {f"model.{key}": value.float() for key, value in state.items()}
        torch.save({"generator": named}, self.root / "longlive_base.pt")
        lora = lora_of(state, RANK, self.drawn)
        torch.save({"generator_lora": lora}, self.root / "lora.pt")
        return {"transformer": str(self.root / "longlive_base.pt"), "lora": str(self.root / "lora.pt")}

    def text_encoder(self) -> str:
        folder = self.root / "text_encoder"
        config = transformers.UMT5Config(
            vocab_size=ROWS, d_model=4096, d_kv=64, d_ff=10240, num_layers=self.layers or 24, num_heads=64,
            feed_forward_proj="gated-gelu",
        )  # fmt: skip
        with torch.device("meta"):
            model = transformers.UMT5EncoderModel(config)
        config.save_pretrained(folder)
        weights = self.weights(model)
        del weights["encoder.embed_tokens.weight"]
        save_file(weights, folder / "model.safetensors")
        return str(folder)

    def tokenizer(self) -> str:
        write_tokenizer(self.root / "tokenizer", ROWS)
        return str(self.root / "tokenizer")

    def vae(self) -> str:
        diffusers.AutoencoderKLWan().to(DTYPE).save_pretrained(self.root / "vae")
        return str(self.root / "vae")

    def _reward(self, name: str, marks: tuple[str, ...], golden: Path) -> tuple[Path, dict[str, Tensor]]:
        """The tokenizer of a golden set under a configuration of full width, and weights for it."""
        sizes, base = REWARDS[name], self.root / f"{name}_base"
        shutil.copytree(golden / "base", base)
        told = json.loads((base / "config.json").read_text())
        told |= {
            "hidden_size": sizes.hidden, "intermediate_size": sizes.feed, "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.groups, "num_hidden_layers": self.layers or sizes.layers,
            "vocab_size": told["vocab_size"], "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        }  # fmt: skip
        depth = self.layers or sizes.depth
        told["vision_config"] |= {"depth": depth, "embed_dim": 1280, "hidden_size": sizes.hidden, "num_heads": 16}
        (base / "config.json").write_text(json.dumps(told))
        return base, self.weights(Qwen2VL(base, Words(base, marks, "image").size).qwen)

    def hpsv3(self) -> dict[str, str]:
        golden = reward_sets("hpsv3")[0]
        base, weights = self._reward("hpsv3", ("<|Reward|>",), golden)
        head = nn.Sequential(
            nn.Linear(3584, 1024), nn.ReLU(), nn.Dropout(), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
        )
        named = {official(key): value for key, value in weights.items()}
        heads = {f"rm_head.{key}": value for key, value in self.weights(head).items()}
        save_file(named | heads, self.root / "HPSv3.safetensors")
        template = template_file(golden, "single0", ("<|Reward|>",), "image", self.root / "frames.py")
        weights_file = str(self.root / "HPSv3.safetensors")
        return {"hpsv3": weights_file, "hpsv3_base": str(base), "hpsv3_template": str(template)}

    def videoreward(self) -> dict[str, str]:
        golden = reward_sets("videoreward")[0]
        base, weights = self._reward("videoreward", MARKS, golden)
        folder, rank = self.root / "VideoReward", 64
        told = json.loads((golden / "VideoReward" / "model_config.json").read_text())
        told["peft_lora_config"] |= {"lora_r": rank, "lora_alpha": 2 * rank}
        (folder / "checkpoint-1").mkdir(parents=True)
        (folder / "model_config.json").write_text(json.dumps(told))
        named: dict[str, Tensor] = {"base_model.model.rm_head.weight": self.drawn(1, 1536)}
        for key, value in weights.items():
            name = f"base_model.model.{official(key)}"
            if "language_model.layers" in key and key.endswith("proj.weight"):
                stem = name.removesuffix(".weight")
                named[f"{stem}.lora_A.default.weight"] = self.drawn(rank, value.shape[1])
                named[f"{stem}.lora_B.default.weight"] = torch.zeros(value.shape[0], rank, dtype=DTYPE)
                name = f"{stem}.base_layer.weight"
            elif "language_model.layers" in key and key.endswith("proj.bias"):
                name = name.replace(".bias", ".base_layer.bias")
            named[name] = value
        torch.save(named, folder / "checkpoint-1" / "model.pth")
        template = template_file(golden, "clip0", MARKS, "video", self.root / "clips.py")
        return {"videoreward": str(folder), "videoreward_base": str(base), "videoreward_template": str(template)}


def official(name: str) -> str:
    return name.replace("language_model.", "model.", 1)


if __name__ == "__main__":
    folder, device = Path(sys.argv[1]), (sys.argv[2:] or ["cpu"])[0]
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        Writer(folder, device=device).preset()
