"""Tiny random checkpoints in every official layout: downloaded from a local hub, loaded and searched over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import Result
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.cli.main import app
from streamt1.config.load import load_config
from streamt1.core.errors import CheckpointError
from streamt1.decoders.taehv import TAEHV, TAEHVConfig
from streamt1.hub import download
from streamt1.hub.origins import Origin
from tests.e2e.hub import Hub, serving
from tests.parity.goldens import reward_sets, template_file
from tests.pipeline.test_given import clip_of

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

SIZES = {
    "dim": 32, "ffn_dim": 48, "num_layers": 2, "num_heads": 2, "in_channels": 4, "out_channels": 4,
    "text_dim": 16, "text_len": 24,
}  # fmt: skip
PROMPT = "a red circle resting on a navy plain background"


def write_tokenizer(folder: Path, rows: int = 0) -> None:
    """That knows the words of the prompt, and so many rows in all, most of which nobody says."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    said = ["<pad>", "</s>", "<unk>", *PROMPT.split()]
    words = {word: index for index, word in enumerate([*said, *(f"_{i}" for i in range(rows - len(said)))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def lora_of(state: dict[str, Tensor], rank: int, drawn: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Of every linear layer of every block, in PEFT's names, as LongLive ships it."""
    lora = {}
    for key, value in state.items():
        if key.startswith("blocks.") and value.ndim == 2:
            name = f"base_model.model.{key.removesuffix('.weight')}"
            lora[f"{name}.lora_A.weight"] = drawn(rank, value.shape[1])
            lora[f"{name}.lora_B.weight"] = drawn(value.shape[0], rank)
    return lora


def write_wan(root: Path) -> None:
    """Text encoder, tokenizer and VAE, as the repositories for diffusers have them."""
    torch.manual_seed(0)
    folder = root / "Wan-AI" / "Wan2.1-T2V-1.3B-Diffusers"
    config = transformers.UMT5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=4)
    transformers.UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer")
    diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    ).save_pretrained(folder / "vae")


def weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {key: value.clone() for key, value in WanModel(WanConfig(**SIZES)).state_dict().items()}


def write_longlive(root: Path, padding: int = 0) -> None:
    """`padding`: bytes of something else in the file, as training runs leave it."""
    folder = root / "Efficient-Large-Model" / "LongLive-1.3B" / "models"
    folder.mkdir(parents=True)
    state = weights()
    named = {f"model.{key}": value for key, value in state.items()}
    extra = {"optimizer": torch.zeros(padding, dtype=torch.uint8)} if padding else {}
    torch.save({"generator": named, **extra}, folder / "longlive_base.pt")
    lora = lora_of(state, 4, lambda *shape: 0.01 * torch.randn(shape))
    torch.save({"generator_lora": lora}, folder / "lora.pt")


def write_self_forcing(root: Path) -> None:
    folder = root / "gdhe17" / "Self-Forcing" / "checkpoints"
    folder.mkdir(parents=True)
    plain = {f"model._fsdp_wrapped_module.{key}": value for key, value in weights().items()}
    torch.save({"generator": plain, "generator_ema": plain}, folder / "self_forcing_dmd.pt")


def write_reward_forcing(root: Path) -> None:
    folder = root / "JaydenLu666" / "Reward-Forcing-T2V-1.3B"
    folder.mkdir(parents=True)
    torch.save(
        {"generator_ema": {f"model.{key}": value for key, value in weights().items()}}, folder / "rewardforcing.pt"
    )


def write_causal_forcing(root: Path) -> None:
    """Both transformers in each file, the wrong one of another width."""
    folder = root / "zhuhz22" / "Causal-Forcing"
    wrong = {f"model.{key}": torch.zeros(3) for key in weights()}
    right = {f"model.{key}": value for key, value in weights().items()}
    files = {
        "chunkwise/causal_forcing.pt": "generator",
        "framewise/causal_forcing.pt": "generator_ema",
        "causal-forcing++/framewise-2step.pt": "generator_ema",
        "causal-forcing++/framewise-1step.pt": "generator_ema",
    }
    for name, key in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save({**dict.fromkeys(("generator", "generator_ema"), wrong), key: right}, folder / name)


def write_longlive2(root: Path) -> None:
    """With the text encoder and the VAE of the 5B models; one bare file, in bfloat16."""
    folder, own = root / "Efficient-Large-Model" / "LongLive-2.0-5B", root / "Wan-AI" / "Wan2.2-TI2V-5B-Diffusers"
    folder.mkdir(parents=True)
    torch.save({f"model.{key}": value.bfloat16() for key, value in weights().items()}, folder / "model_bf16.pt")
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(root / "Wan-AI" / "Wan2.1-T2V-1.3B-Diffusers" / part, own / part)
    diffusers.AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, is_residual=True,
        in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16, latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    ).save_pretrained(own / "vae")  # fmt: skip


def write_krea(root: Path) -> None:
    folder = root / "krea" / "krea-realtime-video"
    folder.mkdir(parents=True)
    named = {f"model.{key}": value.bfloat16() for key, value in weights().items()}
    save_file(named, folder / "krea-realtime-video-14b.safetensors")


def write_original(root: Path) -> None:
    folder = root / "Wan-AI" / "Wan2.1-T2V-1.3B"
    folder.mkdir(parents=True)
    save_file(weights(), folder / "diffusion_pytorch_model.safetensors")


def write_diffusers(root: Path) -> None:
    torch.manual_seed(1)
    diffusers.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=16, freq_dim=256,
        ffn_dim=48, num_layers=2, patch_size=(1, 2, 2),
    ).save_pretrained(root / "Wan-AI" / "Wan2.1-T2V-1.3B-Diffusers" / "transformer")  # fmt: skip


ORIGINAL = {"repo": "Wan-AI/Wan2.1-T2V-1.3B", "path": "diffusion_pytorch_model.safetensors"}
DIFFUSERS = {"repo": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "path": "transformer"}
LAYOUTS = {
    "longlive": (write_longlive, "longlive", {}),
    "self-forcing": (write_self_forcing, "self-forcing", {}),
    "reward-forcing": (write_reward_forcing, "reward-forcing", {}),
    "longlive-infinite": (write_longlive, "longlive-infinite", {}),
    "causal-forcing": (write_causal_forcing, "causal-forcing", {}),
    "causal-forcing-framewise": (write_causal_forcing, "causal-forcing-framewise", {}),
    "causal-forcing-2step": (write_causal_forcing, "causal-forcing-2step", {}),
    "causal-forcing-1step": (write_causal_forcing, "causal-forcing-1step", {}),
    "longlive2": (write_longlive2, "longlive2", {}),
    "krea": (write_krea, "krea", {}),
    "wan-original": (write_original, "longlive", {"transformer": ORIGINAL, "lora": None}),
    "wan-diffusers": (write_diffusers, "longlive", {"transformer": DIFFUSERS, "lora": None}),
}


def tiny_preset(path: Path, extends: str, files: dict) -> Path:
    """The official preset at tiny sizes, with pocket's rewards (they know the words of the prompt)."""
    without = dict.fromkeys(
        f"{reward}{part}" for reward in ("hpsv3", "videoreward") for part in ("", "_base", "_template")
    )
    keys = {
        "extends": extends, "frame_reward": "pocket", "clip_reward": "pocket", "dtype": "float32",
        "wan": {"size": SIZES, "height": 64, "width": 64, "lora_alpha": 4}, "files": {**without, **files},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def streamt1(hub: Hub, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", "from streamt1.cli.main import main; main()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def here(*arguments: str) -> Result:
    """The same command in this process, which has imported everything already."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_from_download_to_video(layout: str, tmp_path: Path) -> None:
    write, extends, files = LAYOUTS[layout]
    write_wan(tmp_path / "hub")
    write(tmp_path / "hub")
    preset = tiny_preset(tmp_path / "tiny.yaml", extends, files)
    models, out = str(tmp_path / "models"), str(tmp_path / "out")
    with serving(tmp_path / "hub") as hub:
        done = streamt1(hub, tmp_path / "home", "download", str(preset), "--to", models)
    assert done.returncode == 0, done.stderr
    assert "to fetch" in done.stdout
    made = here("generate", PROMPT, "--preset", str(preset), "--models", models, "--chunks", "6", "--out", out)
    assert made.exit_code == 0, made.stderr
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    config = load_config(str(preset))
    assert run["frames"] == 1 + 4 * (6 * config.memory.chunk - 1)
    first, later, most = len(config.wan.first_steps or config.wan.steps), len(config.wan.steps), 4
    assert run["cost"]["model_passes"] == most * (first + 5 * later) + 2 * 5
    assert (tmp_path / "out" / "video.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("layout", "of_picture", "of_clip"),
    [("longlive", 3, 6), ("causal-forcing-framewise", 1, 8), ("longlive2", 1, 8), ("krea", 3, 3)],
)
def test_videos_that_begin_with_frames(layout: str, of_picture: int, of_clip: int, tmp_path: Path) -> None:
    write, extends, files = LAYOUTS[layout]
    write_wan(tmp_path / "hub")
    write(tmp_path / "hub")
    preset = str(tiny_preset(tmp_path / "tiny.yaml", extends, files))
    Image.new("RGB", (96, 64), (200, 40, 30)).save(tmp_path / "photo.png")
    frames = np.full((30, 48, 64, 3), 90, dtype=np.uint8)
    fps = load_config(preset).wan.fps
    clip = clip_of(tmp_path / "clip.mkv", frames, Fraction(fps))
    models, chunk = str(tmp_path / "models"), load_config(preset).memory.chunk
    with serving(tmp_path / "hub") as hub:
        assert streamt1(hub, tmp_path / "home", "download", preset, "--to", models).returncode == 0
    for begins, file, latents in (("--image", tmp_path / "photo.png", of_picture), ("--video", clip, of_clip)):
        out = tmp_path / begins
        where = ("--preset", preset, "--models", models, "--out", str(out))
        made = here("generate", PROMPT, *where, "--chunks", "2", begins, str(file))
        assert made.exit_code == 0, made.stderr
        assert "is brought to 64x64" in made.stderr
        summary = json.loads((out / "run.json").read_text())
        assert summary["given"]["latents"] == latents
        assert summary["chunks"] == 2 + latents // chunk
        again = here("replay", str(out))
        assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((401, ""), "set HF_TOKEN to a token that may read it"),
        ((403, "GatedRepo"), "is gated: accept its licence"),
        ((404, "RepoNotFound"), "the hub has no"),
        ((500, ""), "the hub does not answer for"),
    ],
)
def test_a_hub_that_refuses_is_told_in_one_sentence(tmp_path: Path, refusal: tuple[int, str], told: str) -> None:
    preset = str(tiny_preset(tmp_path / "tiny.yaml", "longlive", {}))
    with serving(tmp_path / "hub") as hub:
        hub.refusal = refusal
        done = streamt1(hub, tmp_path / "home", "download", preset)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_hub_that_stays_silent_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 1)
    origin = Origin(repo="owner/name", path="file.pt")
    with serving(tmp_path / "hub") as hub:
        hub.silent = True
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        begin = time.monotonic()
        with pytest.raises(CheckpointError, match="the hub does not answer for owner/name: timed out"):
            download.plan_download({"file": origin})
    assert time.monotonic() - begin < 30


def test_a_file_of_the_right_size_is_trusted_by_its_hash(tmp_path: Path) -> None:
    write_wan(tmp_path / "hub")
    write_longlive(tmp_path / "hub")
    preset, models = str(tiny_preset(tmp_path / "tiny.yaml", "longlive", {})), tmp_path / "models"
    with serving(tmp_path / "hub") as hub:
        assert streamt1(hub, tmp_path / "home", "download", preset, "--to", str(models)).returncode == 0
        file = models / "Efficient-Large-Model" / "LongLive-1.3B" / "models" / "lora.pt"
        right = file.read_bytes()
        file.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
        hub.sent.clear()
        again = streamt1(hub, tmp_path / "home", "download", preset, "--to", str(models))
        assert again.returncode == 0, again.stderr
    assert [name for name, _ in hub.sent] == ["lora.pt"]
    assert file.read_bytes() == right


def test_downloads_resume_are_checked_and_can_go_to_a_folder(tmp_path: Path) -> None:
    write_wan(tmp_path / "hub")
    write_longlive(tmp_path / "hub", padding=32 << 20)
    preset = str(tiny_preset(tmp_path / "tiny.yaml", "longlive", {}))
    models = tmp_path / "models"
    with serving(tmp_path / "hub") as hub:
        dry = streamt1(hub, tmp_path / "home", "download", preset, "--to", str(models), "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert hub.sent == []
        hub.lie.add("lora.pt")
        lied = streamt1(hub, tmp_path / "home", "download", preset, "--to", str(models))
        assert lied.returncode == 1
        assert "damaged" in lied.stderr
        assert not list(models.rglob("lora.pt"))
        hub.lie.clear()
        hub.cut.add("longlive_base.pt")
        for file in models.rglob("longlive_base.pt"):
            file.unlink()
        first = streamt1(hub, tmp_path / "home", "download", preset, "--to", str(models))
        again = streamt1(hub, tmp_path / "home", "download", preset, "--to", str(models))
        assert again.returncode == 0, first.stderr + again.stderr
        starts = [start for name, start in hub.sent if name == "longlive_base.pt"]
        assert any(start > 0 for start in starts), "the download goes on where it was cut off"
        hub.sent.clear()
        third = streamt1(hub, tmp_path / "home", "download", preset, "--to", str(models))
        assert "0.00 GB to fetch" in third.stdout
        assert hub.sent == []
        arguments = ("--preset", preset, "--models", str(models), "--chunks", "1", "--out", str(tmp_path / "out"))
        made = streamt1(hub, tmp_path / "elsewhere", "generate", PROMPT, *arguments)
        assert made.returncode == 0, made.stderr
        light = TAEHV(TAEHVConfig(channels=4, widths=(8, 8, 8, 8)))
        torch.save(light.state_dict(), tmp_path / "light.pth")
        drafting = ("--set", "draft=taehv", "--set", f"files.draft={tmp_path / 'light.pth'}")
        drafted = streamt1(hub, tmp_path / "elsewhere", "generate", PROMPT, *arguments, *drafting, "--fresh")
    assert drafted.returncode == 0, drafted.stderr
    cost = json.loads((tmp_path / "out" / "run.json").read_text())["cost"]
    assert (cost["latents_decoded"], cost["latents_drafted"]) == (3, 4 * 3)


def test_generating_needs_no_network(tmp_path: Path) -> None:
    write_wan(tmp_path / "hub")
    write_longlive(tmp_path / "hub")
    preset = str(tiny_preset(tmp_path / "tiny.yaml", "longlive", {}))
    with serving(tmp_path / "hub") as hub:
        assert streamt1(hub, tmp_path / "home", "download", preset).returncode == 0
    with serving(tmp_path / "nothing") as hub:
        arguments = ("generate", PROMPT, "--preset", preset, "--chunks", "1", "--out", str(tmp_path / "out"))
        made = streamt1(hub, tmp_path / "home", *arguments)
        assert made.returncode == 0, made.stderr
        assert hub.sent == []


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    preset = str(tiny_preset(tmp_path / "tiny.yaml", "longlive", {}))
    (tmp_path / "hub").mkdir()
    with serving(tmp_path / "hub") as hub:
        arguments = ("generate", PROMPT, "--preset", preset, "--chunks", "1", "--out", str(tmp_path / "out"))
        made = streamt1(hub, tmp_path / "home", *arguments)
        assert made.returncode == 1
        assert "streamt1 download" in made.stderr
        failed = streamt1(hub, tmp_path / "home", "download", preset)
        assert failed.returncode == 1
        assert "Efficient-Large-Model/LongLive-1.3B" in failed.stderr
        assert "Traceback" not in failed.stderr
        nothing = streamt1(hub, tmp_path / "home", "download", "pocket")
        assert nothing.returncode == 2
        assert "ships in the package" in nothing.stderr


@pytest.mark.parametrize("hpsv3", reward_sets("hpsv3")[:1], ids=["hpsv3"])
@pytest.mark.parametrize("videoreward", reward_sets("videoreward")[:1], ids=["videoreward"])
def test_a_search_with_the_official_rewards(hpsv3: Path, videoreward: Path, tmp_path: Path) -> None:
    write_wan(tmp_path / "hub")
    write_longlive(tmp_path / "hub")
    marks = ("<|VQ_reward|>", "<|MQ_reward|>", "<|TA_reward|>")
    files = {
        "hpsv3": str(hpsv3 / "HPSv3.safetensors"),
        "hpsv3_base": str(hpsv3 / "base"),
        "hpsv3_template": str(template_file(hpsv3, "single0", ("<|Reward|>",), "image", tmp_path / "frames.py")),
        "videoreward": str(videoreward / "VideoReward"),
        "videoreward_base": str(videoreward / "base"),
        "videoreward_template": str(template_file(videoreward, "clip0", marks, "video", tmp_path / "clips.py")),
    }
    preset = tiny_preset(tmp_path / "tiny.yaml", "longlive", files)
    keys = yaml.safe_load(preset.read_text()) | {"frame_reward": "hpsv3", "clip_reward": "videoreward"}
    preset.write_text(yaml.safe_dump(keys))
    with serving(tmp_path / "hub") as hub:
        assert streamt1(hub, tmp_path / "home", "download", str(preset)).returncode == 0
        out = str(tmp_path / "out")
        made = streamt1(
            hub, tmp_path / "home", "generate", PROMPT, "--preset", str(preset), "--chunks", "2", "--out", out
        )
    assert made.returncode == 0, made.stderr
    cost = json.loads((tmp_path / "out" / "run.json").read_text())["cost"]
    assert cost["reward_calls"] == 2 * 4 * 2 + 2
