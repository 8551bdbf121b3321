"""Configurations and vocabularies of the large models' parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="the extra wan is missing")

from streamt1.backbones.wan.checkpoint import check_wan
from streamt1.backbones.wan.text import check_tokenizer, empty_encoder, read_tokenizer
from streamt1.decoders.wan_vae import empty_vae
from streamt1.families.reward_files import check_hpsv3
from streamt1.families.wan_files import file_of
from streamt1.families.wan_sizes import wan_sizes
from tests.families.tiny_files import config_of, know_templates, write_all
from tests.fuzz.mutations import garbage, json_texts, mutated, mutated_value
from tests.fuzz.rule import kept


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("models")
    write_all(root)
    with pytest.MonkeyPatch.context() as patch:
        know_templates(patch)
        yield root


def _changed(path: Path, data: st.DataObject) -> bytes:
    own = path.read_bytes()
    if path.suffix == ".json":
        path.write_bytes(data.draw(json_texts(json.loads(own))))
    else:
        path.write_bytes(data.draw(st.one_of(mutated(own), garbage)))
    return own


def _attacked(family: str, root: Path, data: st.DataObject, place: Path, call: Callable[[], object]) -> None:
    """Changes a file, or one of a folder, calls, and puts it back."""
    path = place
    if place.is_dir():
        files = sorted(path for path in place.iterdir() if path.suffix in (".json", ".txt", ".jinja", ".py"))
        path = data.draw(st.sampled_from(files))
    own = _changed(path, data)
    try:
        kept(family, call, root)
    finally:
        path.write_bytes(own)


@given(data=st.data())
def test_text_encoders(data: st.DataObject, root: Path) -> None:
    folder = file_of(config_of(root), "text_encoder")
    _attacked("text encoders", root, data, folder, lambda: empty_encoder(folder))


@given(data=st.data())
def test_tokenizers(data: st.DataObject, root: Path) -> None:
    config = config_of(root)
    folder, encoder = file_of(config, "tokenizer"), empty_encoder(file_of(config, "text_encoder"))
    _attacked("tokenizers", root, data, folder, lambda: check_tokenizer(read_tokenizer(folder), encoder, folder))


@given(data=st.data())
def test_autoencoders(data: st.DataObject, root: Path) -> None:
    folder = file_of(config_of(root), "vae")
    _attacked("autoencoders", root, data, folder, lambda: empty_vae(folder))


def _attacked_reward(family: str, part: str, data: st.DataObject, root: Path) -> None:
    config = config_of(root)
    files = [file_of(config, f"hpsv3{name}") for name in ("", "_base", "_template")]
    _attacked(family, root, data, file_of(config, f"hpsv3{part}"), lambda: check_hpsv3(*files))


@given(data=st.data())
def test_rewards(data: st.DataObject, root: Path) -> None:
    _attacked_reward("rewards", "_base", data, root)


@given(data=st.data())
def test_templates(data: st.DataObject, root: Path) -> None:
    _attacked_reward("templates", "_template", data, root)


@given(data=st.data())
def test_sizes_of_transformers(data: st.DataObject, root: Path) -> None:
    config = config_of(root)
    size = data.draw(mutated_value(config.wan.size))
    wan = config.wan.model_copy(update={"size": size})

    def checked() -> None:
        if isinstance(size, (str, dict)):
            check_wan(wan_sizes(wan), file_of(config, "transformer"), None)

    kept("transformer sizes", checked, root)
