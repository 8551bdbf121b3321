"""Every file of a preset, wrong in every way that downloads, trainings and mix-ups make it: refused in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from streamt1.backbones.wan.checkpoint import load_wan
from streamt1.backbones.wan.config import WanConfig
from streamt1.cli.main import app
from streamt1.core.errors import CheckpointError, StreamT1Warning
from streamt1.families import wan
from streamt1.families.build import build, check_files
from tests.families.tiny_files import LONGLIVE, WAN, config_of, know_templates, write_all

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

Spoiler = Callable[[Path], object]
WEIGHTS = {
    "transformer": f"{LONGLIVE}/longlive_base.pt",
    "lora": f"{LONGLIVE}/lora.pt",
    "encoder": f"{WAN}/text_encoder/model.safetensors",
    "vae": f"{WAN}/vae/diffusion_pytorch_model.safetensors",
    "draft": "draft.pth",
    "hpsv3": "HPSv3.safetensors",
    "videoreward": "VideoReward/checkpoint-7/model.pth",
}
CONFIGS = {
    "encoder": f"{WAN}/text_encoder/config.json",
    "vae": f"{WAN}/vae/config.json",
    "hpsv3": "hpsv3_base/config.json",
    "videoreward": "videoreward_base/config.json",
    "settings": "VideoReward/model_config.json",
    "words": f"{WAN}/tokenizer/tokenizer.json",
    "hpsv3 words": "hpsv3_base/tokenizer.json",
    "videoreward words": "videoreward_base/tokenizer.json",
}
TEMPLATES = {"hpsv3": "hpsv3.py", "videoreward": "videoreward.py"}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_all(folder)
    return folder


@pytest.fixture
def files(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil."""
    know_templates(monkeypatch)
    return Path(shutil.copytree(good, tmp_path / "files"))


def told(root: Path, name: str, work: Callable[[Any], object] = check_files) -> str:
    """How the files are refused; every refusal is one sentence that names the file or its folder."""
    with pytest.raises(CheckpointError) as caught:
        work(config_of(root))
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    file = Path(name)
    assert any(str(place) in message for place in (file, root / file.parent, root / file.parts[0])), message
    return message


def test_the_good_files_are_accepted(files: Path) -> None:
    check_files(config_of(files))


def written(content: bytes) -> Spoiler:
    return lambda path: path.write_bytes(content)


def linked(target: str) -> Spoiler:
    def spoil(path: Path) -> None:
        path.unlink()
        path.symlink_to(path if target == "itself" else target)

    return spoil


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unfinished(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.incomplete"))


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("notes/hello.txt", "hello")


STRANGERS: dict[str, tuple[Spoiler, str]] = {
    "gone": (Path.unlink, "is not on this disk|holds no|there is no"),
    "unfinished": (unfinished, "is not on this disk|not finished|holds no|there is no"),
    "pointer": (written(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"), "pointer of git-lfs"),
    "page": (written(b"\xef\xbb\xbf<!DOCTYPE html><html>"), "an HTML page"),
    "answer": (written(b'{"message": "no"}'), "perhaps an answer of a server"),
    "xml": (written(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"), "an answer of a server"),
    "text": (written(b"Entry not found"), "no weights file of torch: it begins with 'Entry not found'|no whole"),
    "gguf": (written(b"GGUF" + bytes(64)), "a GGUF file"),
    "gzip": (written(b"\x1f\x8b\x08" + bytes(64)), "compressed with gzip"),
    "empty": (written(b""), "is empty"),
    "zeros": (written(bytes(9999)), "begins with zeros"),
    "cut": (cut, "not downloaded to its end"),
    "folder": (folder, "holds no weights file|is not on this disk|there is no|lacks"),
    "broken link": (linked("/nowhere/at/all"), "is not on this disk|holds no|there is no|does not exist"),
    "link to itself": (linked("itself"), "symbolic links|is not on this disk|holds no|does not exist"),
    "archive": (archive, "zip"),
    "pipe": (pipe, "is no file"),
    "long header": (
        written((5000).to_bytes(8, "little") + b"{}"),
        "no weights file of torch|not downloaded to its end",
    ),
    "huge header": (written((1 << 60).to_bytes(8, "little") + b"{}"), "no weights file of torch|header claims"),
}


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("model", WEIGHTS)
def test_what_is_no_weights_file(model: str, kind: str, files: Path) -> None:
    spoil, wanted = STRANGERS[kind]
    spoil(files / WEIGHTS[model])
    message = told(files, WEIGHTS[model])
    assert any(part in message for part in wanted.split("|")), message


def edited(path: Path, change: Callable[[dict[Any, Any]], object]) -> None:
    """The same file with other weights in it."""
    plain = path.suffix == ".safetensors"
    content = dict(load_file(path)) if plain else torch.load(path, weights_only=True)
    weights = content
    while isinstance(inner := next(iter(weights.values())), dict):
        weights = inner
    change(weights)
    if plain:
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    else:
        torch.save(content, path)


def last(weights: dict[str, Tensor]) -> str:
    return max(name for name, value in weights.items() if value.ndim > 1)


def changed(change: Callable[[Tensor], Any]) -> Callable[[dict[str, Tensor]], None]:
    """Spoils one matrix."""

    def spoil(weights: dict[str, Tensor]) -> None:
        weights[last(weights)] = change(weights[last(weights)])

    return spoil


def renamed(change: Callable[[str], str]) -> Callable[[dict[str, Tensor]], None]:
    def spoil(weights: dict[str, Tensor]) -> None:
        for name in list(weights):
            weights[change(name)] = weights.pop(name)

    return spoil


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "one is missing": lambda weights: weights.pop(last(weights)),
    "another prefix": renamed(lambda name: f"foo.{name}"),
    "larger": changed(lambda value: torch.zeros([side + 1 for side in value.shape])),
    "a number": changed(lambda value: torch.zeros(())),
    "int8": changed(lambda value: value.to(torch.int8)),
    "float8": changed(lambda value: value.to(torch.float8_e4m3fn)),
    "complex": changed(lambda value: value.to(torch.complex64)),
}
OF_PICKLES: dict[str, Callable[[dict[Any, Any]], object]] = {
    "sparse": changed(lambda value: value.to_sparse()),
    "words": changed(lambda value: "hello"),
    "a number as name": lambda weights: weights.update({5: torch.ones(2)}),
}


@pytest.mark.parametrize("change", [*CHANGES, *OF_PICKLES])
@pytest.mark.parametrize("model", WEIGHTS)
def test_weights_that_do_not_fit(model: str, change: str, files: Path) -> None:
    if change in OF_PICKLES and WEIGHTS[model].endswith(".safetensors"):
        pytest.skip("safetensors cannot hold it")
    edited(files / WEIGHTS[model], {**CHANGES, **OF_PICKLES}[change])
    told(files, WEIGHTS[model])


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
@pytest.mark.parametrize("model", WEIGHTS)
def test_weights_that_are_no_numbers_are_named_while_loading(model: str, number: float, files: Path) -> None:
    edited(files / WEIGHTS[model], changed(lambda value: value.clone().index_fill_(0, torch.tensor([0]), number)))
    check_files(config_of(files))
    assert "holds NaN or infinite values in" in told(files, WEIGHTS[model], build)


@pytest.mark.filterwarnings("ignore::streamt1.core.errors.StreamT1Warning")
@pytest.mark.parametrize("model", [name for name in WEIGHTS if name != "lora"])
def test_half_a_file_of_zeros_is_warned_of(model: str, files: Path) -> None:
    """As a download leaves it that took its room first; neither names nor shapes tell."""
    edited(files / WEIGHTS[model], changed(torch.zeros_like))
    with pytest.warns(StreamT1Warning, match="nothing but zeros in"):
        build(config_of(files))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
@pytest.mark.parametrize("model", ["transformer", "encoder", "vae", "draft", "hpsv3", "videoreward"])
def test_what_wrappers_put_before_names_is_taken_off(model: str, prefix: str, files: Path) -> None:
    edited(files / WEIGHTS[model], renamed(lambda name: prefix + name))
    check_files(config_of(files))


@pytest.mark.parametrize("model", ["transformer", "lora", "draft", "videoreward"])
def test_a_state_dict_within_a_file_is_found(model: str, files: Path) -> None:
    path = files / WEIGHTS[model]
    torch.save({"state_dict": torch.load(path, weights_only=True)}, path)
    check_files(config_of(files))


@pytest.mark.parametrize("other", WEIGHTS)
@pytest.mark.parametrize("model", WEIGHTS)
def test_a_file_of_another_model_is_refused(model: str, other: str, good: Path, files: Path) -> None:
    if model != other:
        shutil.copy(good / WEIGHTS[other], files / WEIGHTS[model])
        told(files, WEIGHTS[model])


def test_pickled_code_never_runs(files: Path) -> None:
    for model in ("transformer", "lora", "draft", "videoreward"):
        path = files / WEIGHTS[model]
        right = path.read_bytes()
        torch.save({"a": os.getcwd}, path)
        assert "its pickle names posix.getcwd, which is code" in told(files, WEIGHTS[model])
        path.write_bytes(right)


JSONS: dict[str, Spoiler] = {
    "gone": Path.unlink,
    "empty": written(b""),
    "latin-1": written(b'{"a": "\xff\xfe"}'),
    "byte order mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "a list": written(b"[]"),
    "null": written(b"null"),
    "nothing in it": written(b"{}"),
    "deep": written(b"[" * 99_999),
    "page": written(b"<html>"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "folder": folder,
    "link to itself": linked("itself"),
}


@pytest.mark.parametrize("kind", JSONS)
@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_and_vocabularies_that_cannot_be_read(name: str, kind: str, files: Path) -> None:
    JSONS[kind](files / CONFIGS[name])
    told(files, CONFIGS[name])


def test_a_configuration_of_a_hundred_megabytes_is_not_read(files: Path) -> None:
    with (files / CONFIGS["vae"]).open("wb") as file:
        file.truncate(200_000_000)
    assert "far too large" in told(files, CONFIGS["vae"])


def rewritten(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


MIXED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "more layers in the encoder": (CONFIGS["encoder"], lambda path: rewritten(path, num_layers=3), "missing: encoder"),
    "negative sizes": (CONFIGS["encoder"], lambda path: rewritten(path, d_ff=-1), "is no configuration of UMT5"),
    "words as sizes": (CONFIGS["encoder"], lambda path: rewritten(path, d_ff="x"), "is no configuration of UMT5"),
    "a T5": (CONFIGS["encoder"], lambda path: rewritten(path, model_type="t5"), "of a model of type t5, not of UMT5"),
    "the VAE of Wan2.2": (CONFIGS["vae"], lambda path: rewritten(path, z_dim=48), "decodes latents of 48 channels"),
    "a VAE of pictures": (CONFIGS["vae"], lambda path: rewritten(path, _class_name="AutoencoderKL"), "AutoencoderKL,"),
    "a Qwen3": (CONFIGS["hpsv3"], lambda path: rewritten(path, model_type="qwen3"), "of type qwen3, not of Qwen2-VL"),
    "no rank": (
        CONFIGS["settings"], lambda path: rewritten(path, peft_lora_config={"lora_alpha": 1, "lora_r": 0}), "Zero",
    ),
    "another head": (CONFIGS["settings"], lambda path: rewritten(path, model_config={"output_dim": 3}), "rm_head does"),
    "other words": (
        CONFIGS["words"], lambda path: shutil.copy(path.parents[3] / CONFIGS["hpsv3 words"], path), "of another model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MIXED)
def test_files_that_do_not_belong_together(case: str, files: Path) -> None:
    name, spoil, wanted = MIXED[case]
    spoil(files / name)
    with pytest.raises(CheckpointError, match=wanted) as caught:
        check_files(config_of(files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"A = 1\n", b"\xff\xfe", b"<html>", b"x = " + b"(" * 5000])
@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_of_another_text(name: str, content: bytes, files: Path) -> None:
    (files / TEMPLATES[name]).write_bytes(content)
    told(files, TEMPLATES[name])


def test_the_words_of_a_template_are_those_of_the_training(files: Path) -> None:
    path = files / TEMPLATES["hpsv3"]
    path.write_text(path.read_text().replace("judge", "praise"))
    assert "is not the text of the reward's training" in told(files, TEMPLATES["hpsv3"])


def test_a_transformer_of_another_size_is_named_as_that(files: Path) -> None:
    torch.save({"patch_embedding.weight": torch.zeros(5120, 4, 1, 2, 2)}, files / WEIGHTS["transformer"])
    message = told(files, WEIGHTS["transformer"])
    assert "a transformer of width 5120 and 0 layers, but the preset's has width 32 and 2 layers" in message


def test_a_file_that_may_not_be_read_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not bind those who run tests as root, so the system's answer is ours."""
    opened = Path.open

    def refused(path: Path, *given: Any, **named: Any) -> Any:
        if path.name == "HPSv3.safetensors":
            raise PermissionError(13, "Permission denied")
        return opened(path, *given, **named)

    monkeypatch.setattr(Path, "open", refused)
    assert "cannot read" in told(files, WEIGHTS["hpsv3"])
    own = config_of(files)
    with pytest.raises(CheckpointError, match=r"files\.vae: cannot read .*File name too long"):
        check_files(own.model_copy(update={"files": {**own.files, "vae": "x" * 300}}))


def sharded(path: Path) -> dict[str, str]:
    """The text encoder's file in two parts; answers where its index says that each weight is."""
    weights = load_file(path)
    path.unlink()
    names, places = sorted(weights), {}
    for part, own in (("one", names[::2]), ("two", names[1::2])):
        save_file({name: weights[name] for name in own}, path.with_name(f"{part}.safetensors"))
        places |= dict.fromkeys(own, f"{part}.safetensors")
    return places


INDICES: dict[str, Callable[[dict[str, str]], object]] = {
    "a shard is missing": lambda places: places.update({last_of(places): "three.safetensors"}),
    "a weight is elsewhere": lambda places: places.update({last_of(places): "one.safetensors"}),
    "a weight is nowhere": lambda places: places.update({"more.weight": "one.safetensors"}),
    "a weight is not listed": lambda places: places.pop(last_of(places)),
    "it names a folder above": lambda places: places.update({last_of(places): "../one.safetensors"}),
    "it names no file": lambda places: places.update({last_of(places): 5}),  # type: ignore[dict-item]
}


def last_of(places: dict[str, str]) -> str:
    return max(name for name, file in places.items() if file == "two.safetensors")


@pytest.mark.parametrize("case", [None, *INDICES])
def test_shards_hold_what_their_index_says(case: str | None, files: Path) -> None:
    path = files / WEIGHTS["encoder"]
    places = sharded(path)
    if case is not None:
        INDICES[case](places)
    (path.parent / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    if case is None:
        check_files(config_of(files))
    else:
        told(files, WEIGHTS["encoder"])


def test_a_weight_that_two_shards_hold_is_refused(files: Path) -> None:
    path = files / WEIGHTS["encoder"]
    places = sharded(path)
    two = path.with_name("two.safetensors")
    one = load_file(path.with_name("one.safetensors"))
    save_file({**load_file(two), min(one): one[min(one)]}, two)
    (path.parent / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert "does not hold what model.safetensors.index.json says of it" in told(files, WEIGHTS["encoder"])


ADAPTERS: dict[str, tuple[dict[str, Any], str]] = {
    "no alpha": ({}, "tells no lora_alpha"),
    "alpha of nothing": ({"lora_alpha": 0}, "tells no lora_alpha"),
    "alpha in words": ({"lora_alpha": "256"}, "tells no lora_alpha"),
    "another rank": ({"lora_alpha": 4, "r": 8}, "has updates of rank 4, but .* says 8"),
    "another scale": ({"lora_alpha": 4, "r": 4, "use_rslora": True}, "use_rslora, which is not supported"),
    "alphas by layer": ({"lora_alpha": 4, "r": 4, "alpha_pattern": {"q": 2}}, "alpha_pattern, which is not"),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_an_adapters_own_file_that_does_not_belong_to_it(case: str, files: Path) -> None:
    content, wanted = ADAPTERS[case]
    (files / LONGLIVE / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=wanted):
        check_files(config_of(files))


def test_updates_of_several_ranks_or_of_some_blocks_are_warned_of(files: Path) -> None:
    own = config_of(files)
    sizes = WanConfig(**own.wan.size)  # type: ignore[arg-type]
    lora = files / WEIGHTS["lora"]

    def other_rank(weights: dict[str, Tensor]) -> None:
        for name in [name for name in weights if "blocks.0.self_attn.q" in name]:
            weights[name] = weights[name][:2] if "lora_A" in name else weights[name][:, :2]

    def fewer(weights: dict[str, Tensor]) -> None:
        for name in [name for name in weights if "blocks.0.self_attn.q" in name]:
            weights.pop(name)

    edited(lora, other_rank)
    with pytest.warns(StreamT1Warning, match="has updates of different ranks: 2, 4"):
        load_wan(sizes, files / WEIGHTS["transformer"], lora)
    edited(lora, fewer)
    with pytest.warns(StreamT1Warning, match=r"updates self_attn\.q in 1 blocks, and other layers in 2"):
        load_wan(sizes, files / WEIGHTS["transformer"], lora)


def test_an_update_of_a_layer_that_is_not_there(files: Path) -> None:
    def more(weights: dict[str, Tensor]) -> None:
        for side in ("lora_A", "lora_B"):
            found = next(name for name in weights if side in name and "layers.1.self_attn.q_proj" in name)
            weights[found.replace("layers.1", "layers.9")] = weights[found]

    edited(files / WEIGHTS["videoreward"], more)
    assert "update layers.9.self_attn.q_proj" in told(files, WEIGHTS["videoreward"]).replace("language_model.", "")


def test_the_commands_refuse_before_anything_is_loaded(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(files / WEIGHTS["videoreward"])

    def loaded(*given: object) -> None:
        raise AssertionError("a model was loaded")

    for name in ("_backbone", "_decoder", "_hpsv3"):
        monkeypatch.setattr(wan, name, loaded)
    preset = str(files / "absolute.yaml")
    config = config_of(files)
    shutil.copy(files / "tiny.yaml", preset)
    settings = [f"--set=files.{name}={value}" for name, value in config.files.items() if isinstance(value, str)]
    common = ("--preset", preset, "--models", str(files), "--device", "cpu", *settings)
    for command in (("generate", "a cat", "--out", str(files / "out"), *common), ("doctor", "--try", *common)):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1, result.output
        lines = [line for line in result.output.splitlines() if "was not downloaded to its end" in line]
        assert len(lines) == 1
        assert "model.pth" in lines[0]
        assert "Traceback" not in result.output
