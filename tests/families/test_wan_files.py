"""The files of a preset are looked at before any model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamt1.backbones.wan import checkpoint
from streamt1.config.load import load_config
from streamt1.config.schema import RunConfig
from streamt1.core.errors import CheckpointError, ConfigError
from streamt1.families.build import build, check_files
from tests.e2e.test_official_layouts import tiny_preset, write_longlive, write_wan

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

WAN = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
LONGLIVE = "Efficient-Large-Model/LongLive-1.3B/models"


def config(root: Path) -> RunConfig:
    write_wan(root)
    write_longlive(root)
    return load_config(str(tiny_preset(root / "tiny.yaml", "longlive", {})), {"models": str(root), "device": "cpu"})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def pointer(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")


def without_one(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    inner = next(iter(content.values()))
    inner.pop(next(iter(inner)))
    torch.save(content, path)


SPOILS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "transformer is a pointer": (f"{LONGLIVE}/longlive_base.pt", pointer, "a pointer of git-lfs"),
    "transformer is cut": (f"{LONGLIVE}/longlive_base.pt", cut, "not downloaded to its end"),
    "transformer lacks a weight": (f"{LONGLIVE}/longlive_base.pt", without_one, "does not fit the model; 1 missing"),
    "transformer is gone": (f"{LONGLIVE}/longlive_base.pt", Path.unlink, "is not on this disk"),
    "lora lacks a side": (f"{LONGLIVE}/lora.pt", without_one, "lacks its lora_"),
    "vae is cut": (f"{WAN}/vae/diffusion_pytorch_model.safetensors", cut, "not downloaded to its end"),
    "vae has no config": (f"{WAN}/vae/config.json", Path.unlink, r"cannot read .*vae/config\.json"),
    "text encoder is cut": (f"{WAN}/text_encoder/model.safetensors", cut, "not downloaded to its end"),
    "text encoder is gone": (f"{WAN}/text_encoder/model.safetensors", Path.unlink, "holds no weights file"),
    "tokenizer is gone": (f"{WAN}/tokenizer/tokenizer.json", Path.unlink, "holds no tokenizer"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_wrong_file_is_refused_before_anything_is_loaded(
    tmp_path: Path, spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = config(tmp_path)
    check_files(own)
    file, spoiler, told = SPOILS[spoil]
    spoiler(tmp_path / file)

    def loaded(*given: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(checkpoint, "load_wan", loaded)
    with pytest.raises(CheckpointError, match=told) as caught:
        build(own)
    assert "\n" not in str(caught.value)


def test_sizes_that_are_not_the_files_are_refused(tmp_path: Path) -> None:
    own = config(tmp_path)
    larger = own.model_copy(update={"wan": own.wan.model_copy(update={"size": {**own.wan.size, "num_layers": 3}})})  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match=r"missing: blocks\.2"):
        check_files(larger)


def test_a_reward_without_its_files_is_refused(tmp_path: Path) -> None:
    own = config(tmp_path)
    with pytest.raises(ConfigError, match=r"names no files\.hpsv3"):
        check_files(own.model_copy(update={"frame_reward": "hpsv3"}))


def test_pocket_ships_with_its_files() -> None:
    check_files(load_config("pocket"))
