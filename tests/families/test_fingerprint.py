"""A fingerprint tells one file of weights from another."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from streamt1.config.load import load_config
from streamt1.core.errors import CheckpointError
from streamt1.families.fingerprint import fingerprint, fingerprints


def test_size_and_content_count(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    seen = set()
    for content in (
        b"",
        b"a",
        b"b",
        b"a" * 3_000_000,
        b"a" * 3_000_001,
        b"a" * 2_999_999 + b"b",
        b"b" + b"a" * 2_999_999,
    ):
        path.write_bytes(content)
        seen.add(fingerprint(path))
        assert fingerprint(path) in seen
    assert len(seen) == 7


def test_pockets_weights_are_those_of_the_package() -> None:
    found = fingerprints(load_config("pocket"))
    assert {"pocket_dit.safetensors", "pocket_vae.safetensors"} <= found.keys()


def test_files_of_a_preset_are_named_by_their_key(tmp_path: Path) -> None:
    for name in ("a.pt", "b.safetensors", "config.json"):
        (tmp_path / name).write_bytes(name.encode())
    config = load_config("longlive").model_copy(
        update={"files": {"vae": str(tmp_path), "lora": str(tmp_path / "a.pt")}}
    )
    assert set(fingerprints(config)) == {"vae/a.pt", "vae/b.safetensors", "lora/a.pt"}


def test_weights_that_an_index_names_have_fingerprints(tmp_path: Path) -> None:
    for name in ("m-1", "m-2"):
        save_file({name: torch.zeros(3)}, tmp_path / f"{name}.safetensors")
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: f"{name}.safetensors" for name in ("m-1", "m-2")}}))
    config = load_config("longlive").model_copy(update={"files": {"transformer": str(index)}})
    before = fingerprints(config)
    assert before.keys() == {"transformer/m-1.safetensors", "transformer/m-2.safetensors"}
    save_file({"m-2": torch.ones(3)}, tmp_path / "m-2.safetensors")
    after = fingerprints(config)
    assert [before[name] == after[name] for name in before] == [True, False]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        fingerprint(tmp_path / "nowhere")
