"""Official layouts, written with tiny random weights."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from streamt1.backbones.wan.attention import attention
from streamt1.backbones.wan.checkpoint import check_wan, load_wan, read_config, read_wan
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.core.errors import CheckpointError, StreamT1Warning

TINY = WanConfig(dim=32, ffn_dim=48, num_layers=2, num_heads=2, in_channels=4, out_channels=4, text_dim=16, text_len=8)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {key: value.clone() for key, value in WanModel(TINY).state_dict().items()}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def equal(model: WanModel, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("container", ["generator", "generator_ema", "model", "state_dict", None])
@pytest.mark.parametrize(
    "prefix",
    ["model.", "model._fsdp_wrapped_module.", "", "module.", "_orig_mod.", "module.model._orig_mod.",
     "model._fsdp_wrapped_module._checkpoint_wrapped_module."],
)  # fmt: skip
def test_training_checkpoints(weights: dict[str, Tensor], container: str | None, prefix: str, tmp_path: Path) -> None:
    named = {prefix + key: value for key, value in weights.items()}
    path = save(tmp_path / "w.pt", {container: named, "step": 7} if container else named)
    model = load_wan(TINY, path, dtype=torch.float32)
    assert equal(model, weights)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_averaged_weights_are_preferred(weights: dict[str, Tensor], tmp_path: Path) -> None:
    other = {key: value + 1 for key, value in weights.items()}
    path = save(tmp_path / "w.pt", {"generator": other, "generator_ema": weights})
    assert equal(load_wan(TINY, path, dtype=torch.float32), weights)


def test_safetensors_in_one_file_and_in_shards(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors")
    assert equal(load_wan(TINY, tmp_path, dtype=torch.float32), weights)
    shards = tmp_path / "shards"
    shards.mkdir()
    names = sorted(weights)
    half = len(names) // 2
    for index, part in enumerate((names[:half], names[half:])):
        save_file({name: weights[name] for name in part}, shards / f"w-{index}.safetensors")
    listing = {name: f"w-{int(index >= half)}.safetensors" for index, name in enumerate(names)}
    import json

    (shards / "w.safetensors.index.json").write_text(json.dumps({"weight_map": listing}))
    assert equal(load_wan(TINY, shards, dtype=torch.float32), weights)


def test_diffusers_layout_gives_the_numbers_of_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(1)
    theirs = diffusers.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=16, freq_dim=256,
        ffn_dim=48, num_layers=2, patch_size=(1, 2, 2),
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path)
    ours = load_wan(TINY, tmp_path, dtype=torch.float32)
    latents, text, time = torch.randn(1, 3, 4, 4, 6), torch.randn(1, 8, 16), torch.tensor([500.0])
    with torch.no_grad():
        expected = theirs(latents.transpose(1, 2), time, text).sample.transpose(1, 2)
        context = ours.embed_text(text)
        flow = ours(latents, time.expand(1, 3), context, torch.arange(3), lambda i, q, k, v: attention(q, k, v))
    assert torch.allclose(flow, expected, atol=1e-5)


def test_sizes_are_read_from_the_weights(weights: dict[str, Tensor]) -> None:
    from dataclasses import replace

    assert replace(read_config(weights, head_dim=16), text_len=8) == TINY
    with pytest.raises(CheckpointError, match=r"patch_embedding\.weight"):
        read_config({"a": torch.zeros(1)})


def lora_of(weights: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    torch.manual_seed(2)
    result = {}
    for key, value in weights.items():
        if key.startswith("blocks.") and value.ndim == 2:
            name = f"base_model.model.{key.removesuffix('.weight')}"
            result[f"{name}.lora_A.weight"] = torch.randn(rank, value.shape[1])
            result[f"{name}.lora_B.weight"] = torch.randn(value.shape[0], rank)
    return result


@pytest.mark.parametrize("container", [None, "generator_lora"])
def test_lora_is_merged_in_float32(weights: dict[str, Tensor], container: str | None, tmp_path: Path) -> None:
    lora = lora_of(weights, 4)
    half = {key: value.bfloat16() for key, value in weights.items()}
    base = save(tmp_path / "base.pt", {"generator": half})
    path = save(tmp_path / "lora.pt", {container: lora} if container else lora)
    model = load_wan(TINY, base, path, lora_alpha=2.0, dtype=torch.float32)
    key = "blocks.1.ffn.0"
    update = lora[f"base_model.model.{key}.lora_B.weight"] @ lora[f"base_model.model.{key}.lora_A.weight"]
    expected = (half[f"{key}.weight"].float() + 0.5 * update).bfloat16().float()
    assert torch.equal(model.state_dict()[f"{key}.weight"], expected)
    assert torch.equal(model.state_dict()["patch_embedding.weight"], half["patch_embedding.weight"].float())


def test_lora_that_does_not_fit_is_refused_with_the_reason(weights: dict[str, Tensor], tmp_path: Path) -> None:
    base = save(tmp_path / "base.pt", weights)
    whole = lora_of(weights, 4)
    name = "base_model.model.blocks.0.ffn.0"
    cases = {
        "lacks its lora_B": {f"{name}.lora_A.weight": whole[f"{name}.lora_A.weight"]},
        "does not have": {f"base_model.model.blocks.9.ffn.0.lora_{s}.weight": torch.zeros(4, 4) for s in "AB"},
        "the weight": {f"{name}.lora_{s}.weight": torch.zeros(4, 4) for s in "AB"},
        "not the name": {"blocks.0.ffn.0.weight": torch.zeros(2)},
        "holds no weights": {},
    }
    for message, content in cases.items():
        with pytest.raises(CheckpointError, match=message):
            load_wan(TINY, base, save(tmp_path / "lora.pt", content))


class Evil:
    def __reduce__(self):
        return (print, ("this code must never run",))


def test_bad_files_give_one_clear_error(weights: dict[str, Tensor], tmp_path: Path, capsys) -> None:
    good = save(tmp_path / "good.pt", {"generator": weights})
    save_file(weights, tmp_path / "good.safetensors")
    for name in ("good.pt", "good.safetensors"):
        cut = tmp_path / f"cut_{name}"
        cut.write_bytes((tmp_path / name).read_bytes()[:-2000])
        with pytest.raises(CheckpointError, match="not downloaded to its end"):
            load_wan(TINY, cut)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_wan(TINY, tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match="unpickling can run code"):
        load_wan(TINY, save(tmp_path / "evil.pt", {"generator": Evil()}))
    assert "never run" not in capsys.readouterr().out
    (tmp_path / "page.pt").write_text("<html>404</html>")
    with pytest.raises(CheckpointError):
        load_wan(TINY, tmp_path / "page.pt")
    with pytest.raises(CheckpointError, match="holds no weights under generator_ema"):
        load_wan(TINY, save(tmp_path / "other.pt", {"optimizer": {"lr": 1}}))
    less = {key: value for key, value in weights.items() if key != "head.modulation"}
    with pytest.raises(CheckpointError, match=r"1 missing: head\.modulation"):
        load_wan(TINY, save(tmp_path / "less.pt", less))
    with pytest.raises(CheckpointError, match=r"1 unexpected: extra"):
        load_wan(TINY, save(tmp_path / "more.pt", {**weights, "extra": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="of another shape"):
        load_wan(WanConfig(**{**TINY.__dict__, "ffn_dim": 64}), good)
    assert read_wan(good).keys() == weights.keys()


def test_weights_inside_containers_inside_containers(weights: dict[str, Tensor], tmp_path: Path) -> None:
    named = {f"model.{key}": value for key, value in weights.items()}
    path = save(tmp_path / "w.pt", {"generator": {"state_dict": named, "epoch": 3}})
    assert equal(load_wan(TINY, path, dtype=torch.float32), weights)


def test_weights_that_are_no_numbers_are_refused_by_name(weights: dict[str, Tensor], tmp_path: Path) -> None:
    broken = {key: value.clone() for key, value in weights.items()}
    broken["blocks.1.ffn.0.bias"][3] = torch.nan
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in 1 weights: blocks\.1\.ffn\.0\.bias"):
        load_wan(TINY, save(tmp_path / "w.pt", broken), dtype=torch.float32)


def one_update(weights: dict[str, Tensor], folder: Path, rank: int) -> Path:
    key = "blocks.0.ffn.0"
    outer, inner = weights[f"{key}.weight"].shape
    pair = {f"{key}.lora_A.weight": torch.ones(rank, inner), f"{key}.lora_B.weight": torch.ones(outer, rank)}
    return save(folder / "lora.pt", pair)


def test_a_scale_that_is_not_one_is_warned_of(weights: dict[str, Tensor], tmp_path: Path) -> None:
    file, lora = save(tmp_path / "w.pt", weights), one_update(weights, tmp_path, rank=4)
    with pytest.warns(StreamT1Warning, match="updates of rank 4, and alpha=256 scales them 64-fold"):
        load_wan(TINY, file, lora, lora_alpha=256, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_wan(TINY, file, lora, lora_alpha=4, dtype=torch.float32)


def test_the_adapters_own_file_tells_the_scale(weights: dict[str, Tensor], tmp_path: Path) -> None:
    file, lora = save(tmp_path / "w.pt", weights), one_update(weights, tmp_path, rank=4)
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8, "r": 4}')
    name = "blocks.0.ffn.0.weight"
    with pytest.warns(StreamT1Warning, match="scales them 2-fold"):
        told = load_wan(TINY, file, lora, dtype=torch.float32).state_dict()[name]
    assert torch.allclose(told, weights[name] + 2 * 4)
    with pytest.warns(StreamT1Warning, match=r"wan\.lora_alpha=4 is used, but .*adapter_config\.json says 8"):
        given = load_wan(TINY, file, lora, lora_alpha=4, dtype=torch.float32).state_dict()[name]
    assert torch.allclose(given, weights[name] + 4)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="tells no lora_alpha"):
        load_wan(TINY, file, lora, dtype=torch.float32)


def test_the_key_of_a_training_checkpoint(weights: dict[str, Tensor], tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in weights.items()}
    both = save(tmp_path / "both.pt", {"generator": weights, "generator_ema": other})
    assert equal(load_wan(TINY, both, dtype=torch.float32, taken="generator"), weights)
    assert equal(load_wan(TINY, both, dtype=torch.float32, taken="generator_ema"), other)
    with pytest.warns(StreamT1Warning, match=r"generator_ema and generator, and generator_ema is taken; wan\.weights"):
        assert equal(load_wan(TINY, both, dtype=torch.float32), other)
    one = save(tmp_path / "one.pt", {"generator": weights, "step": 7})
    assert equal(load_wan(TINY, one, dtype=torch.float32), weights)
    with pytest.raises(CheckpointError, match=r"holds generator, and not generator_ema: set wan\.weights=generator"):
        load_wan(TINY, one, taken="generator_ema")
    bare = save(tmp_path / "bare.pt", weights)
    assert equal(load_wan(TINY, bare, dtype=torch.float32, taken="generator"), weights)


KEY = "blocks.1.self_attn.q"


@pytest.mark.parametrize(
    ("down", "up", "alpha"),
    [
        (f"base_model.model.{KEY}.lora_A.default.weight", f"base_model.model.{KEY}.lora_B.default.weight", None),
        (f"base_model.model.model.{KEY}.lora_A.weight", f"base_model.model.model.{KEY}.lora_B.weight", None),
        (f"diffusion_model.{KEY}.lora_A.weight", f"diffusion_model.{KEY}.lora_B.weight", None),
        (
            f"diffusion_model.{KEY}.lora_down.weight",
            f"diffusion_model.{KEY}.lora_up.weight",
            f"diffusion_model.{KEY}.alpha",
        ),
        ("transformer.blocks.1.attn1.to_q.lora_A.weight", "transformer.blocks.1.attn1.to_q.lora_B.weight", None),
        (
            "lora_unet_blocks_1_self_attn_q.lora_down.weight",
            "lora_unet_blocks_1_self_attn_q.lora_up.weight",
            "lora_unet_blocks_1_self_attn_q.alpha",
        ),
    ],
)
def test_layouts_of_low_rank_updates(
    weights: dict[str, Tensor], down: str, up: str, alpha: str | None, tmp_path: Path
) -> None:
    weight = weights[f"{KEY}.weight"]
    content = {down: torch.randn(4, weight.shape[1]), up: torch.randn(len(weight), 4)}
    if alpha:
        content[alpha] = torch.tensor(2.0)
    lora = save(tmp_path / "lora.pt", content)
    merged = load_wan(TINY, save(tmp_path / "w.pt", weights), lora, dtype=torch.float32).state_dict()
    scale = 0.5 if alpha else 1.0
    assert torch.allclose(merged[f"{KEY}.weight"], weight + scale * content[up] @ content[down], atol=1e-6)
    assert all(torch.equal(merged[name], value) for name, value in weights.items() if name != f"{KEY}.weight")


@pytest.mark.parametrize(
    ("key", "layout"),
    [
        (f"diffusion_model.{KEY}.hada_w1_a", "LoHa"),
        (f"diffusion_model.{KEY}.lokr_w1", "LoKr"),
        (f"diffusion_model.{KEY}.dora_scale", "DoRA"),
        (f"base_model.model.{KEY}.lora_magnitude_vector", "DoRA"),
        (f"diffusion_model.{KEY}.diff", "whole differences"),
        (f"diffusion_model.{KEY}.diff_b", "whole differences"),
    ],
)
def test_other_layouts_are_refused_by_their_names(
    weights: dict[str, Tensor], key: str, layout: str, tmp_path: Path
) -> None:
    lora = save(tmp_path / "lora.pt", {key: torch.zeros(4, 4)})
    for call in (load_wan, check_wan):
        with pytest.raises(CheckpointError, match=f"layout of {layout}.*{key}"):
            call(TINY, save(tmp_path / "w.pt", weights), lora)


def test_an_alpha_that_is_none(weights: dict[str, Tensor], tmp_path: Path) -> None:
    weight = weights[f"{KEY}.weight"]
    pair = {
        f"{KEY}.lora_down.weight": torch.zeros(4, weight.shape[1]),
        f"{KEY}.lora_up.weight": torch.zeros(len(weight), 4),
    }
    base = save(tmp_path / "w.pt", weights)
    for alpha in (0.0, -1.0, float("nan"), float("inf")):
        lora = save(tmp_path / "lora.pt", {**pair, f"{KEY}.alpha": torch.tensor(alpha)})
        with pytest.raises(CheckpointError, match=r"alpha of .* is no number above 0"):
            load_wan(TINY, base, lora)
    lora = save(tmp_path / "lora.pt", {**pair, f"{KEY}.alpha": torch.tensor(2.0)})
    with pytest.warns(StreamT1Warning, match=r"lora_alpha=4 is used, but .*lora\.pt says 2"):
        load_wan(TINY, base, lora, lora_alpha=4)


def test_packed_weights_are_refused_with_the_reason(weights: dict[str, Tensor], tmp_path: Path) -> None:
    packed = {f"{name.removesuffix('weight')}quantized_weight_values": value for name, value in weights.items()}
    with pytest.raises(CheckpointError, match=r"packed in 4 bits \(NVFP4\)"):
        read_wan(save(tmp_path / "packed.pt", packed))
