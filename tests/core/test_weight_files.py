"""Files that are no weights, or not the whole of them, are named as what they are, in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from streamt1.core.errors import CheckpointError
from streamt1.core.weights import load_strictly, read_tensors, read_weights
from streamt1.rewards.videoreward import weights_file

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.ones(4)}


def good(path: Path) -> bytes:
    save_file(WEIGHTS, path)
    return path.read_bytes()


def header(content: dict) -> bytes:
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


STRANGERS: dict[str, tuple[bytes | Callable[[bytes], bytes], str]] = {
    "lfs.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n", "a pointer of git-lfs"),
    "lfs.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n", "a pointer of git-lfs"),
    "page.safetensors": (b"  <!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
    "page.pth": (b"<HTML><head></head></HTML>", "an HTML page"),
    "answer.pt": (b'{"error": "Repository not found"}', "an answer of a server"),
    "model.gguf": (b"GGUF\x03\x00\x00\x00" + bytes(64), "a GGUF file"),
    "named.safetensors": (b"GGUF\x03\x00\x00\x00" + bytes(64), "a GGUF file"),
    "empty.safetensors": (b"", "is empty"),
    "empty.pt": (b"", "is empty"),
    "blob.incomplete": (b"\x00" * 50, "not finished"),
    "tiny.safetensors": (b"\x01\x00", "no whole safetensors file"),
    "huge.safetensors": ((1 << 60).to_bytes(8, "little") + b"{}", "its header claims"),
    "list.safetensors": (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "its header cannot be read"),
    "null.safetensors": (header({"a": None}), "its header cannot be read"),
    "strange.safetensors": (header({"a": {"dtype": "F32", "shape": "no", "data_offsets": [0]}}), "cannot be read"),
    "cut.safetensors": (lambda whole: whole[:-8], "was not downloaded to its end"),
    "long.safetensors": (lambda whole: whole + b"more", "no whole safetensors file"),
    "noise.pt": (bytes(range(256)) * 8, "weights file"),
    "cut.pt": (b"PK\x03\x04" + bytes(300), "was not downloaded to its end"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_weights_file_is_said_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, told = STRANGERS[name]
    data = content(good(tmp_path / "good.safetensors")) if callable(content) else content
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=told) as caught:
        read_tensors(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_pickle_with_code_is_refused_without_torchs_colours(tmp_path: Path) -> None:
    torch.save({"a": print}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="unpickling can run code") as caught:
        read_tensors(tmp_path / "code.pt")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["5", "null", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "../x.safetensors"}}', "[" * 9999]
)
def test_an_index_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json is (no index of weights files|damaged)"):
        read_tensors(tmp_path)


def test_missing_shards_are_counted_before_any_is_read(tmp_path: Path) -> None:
    good(tmp_path / "one.safetensors")
    listing = {"a.weight": "one.safetensors", "b.bias": "two.safetensors", "c": "three.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listing}))
    with pytest.raises(CheckpointError, match=r"lacks 2 of the files in its index: three\.safetensors, two\.saf"):
        read_weights(tmp_path)


def test_an_unfinished_download_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "abc.incomplete").write_bytes(b"\x00")
    with pytest.raises(CheckpointError, match="not finished"):
        read_weights(tmp_path)


def test_a_good_file_reads(tmp_path: Path) -> None:
    good(tmp_path / "model.safetensors")
    assert all(torch.equal(value, WEIGHTS[key]) for key, value in read_weights(tmp_path).items())


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_no_numbers_are_named(wrong: float, dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2).to(dtype)
    weights = {key: value.detach().clone() for key, value in layer.state_dict().items()}
    load_strictly(layer, weights, "whole")
    weights["weight"][1, 2] = wrong
    with pytest.raises(CheckpointError, match="broken holds NaN or infinite values in 1 weights: weight"):
        load_strictly(layer, weights, "broken")


def test_older_shards_beside_their_index_are_one_file(tmp_path: Path) -> None:
    places = {"a.weight": "p-1.bin", "b.bias": "p-2.bin"}
    for key, name in places.items():
        torch.save({key: WEIGHTS[key]}, tmp_path / name)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    assert read_tensors(tmp_path).keys() == WEIGHTS.keys()


def test_folders_that_are_no_checkpoint_of_videoreward_are_passed_over(tmp_path: Path) -> None:
    for name in ("checkpoint-final", "checkpoint-9", "checkpoint-10", "checkpoint-", "checkpoint-٣"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pth").touch()
    assert weights_file(tmp_path).parent.name == "checkpoint-10"
    with pytest.raises(CheckpointError, match="checkpoint-N"):
        weights_file(tmp_path / "checkpoint-9")
