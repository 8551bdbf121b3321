"""Files of weights, their headers and indexes, and configurations of other projects."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamt1.core.json_files import read_json, read_sizes
from streamt1.core.weight_files import check_weight_file, weight_files
from streamt1.core.weights import check_numbers, layout_of, load_weights, read_weights
from streamt1.rewards.videoreward import Settings
from tests.fuzz.mutations import garbage, json_texts, mutated, mutated_value
from tests.fuzz.rule import CANARY, kept

HEADER = {
    "__metadata__": {"config": '{"a": 1}'},
    "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b.bias": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}
INDEX = {"metadata": {"total_size": 32}, "weight_map": {"a.weight": "one.safetensors", "b.bias": "one.safetensors"}}
VIDEOREWARD = {
    "model_config": {"output_dim": 1}, "peft_lora_config": {"lora_alpha": 4, "lora_r": 2},
    "data_config": {"fps": 2, "max_frame_pixels": 200704},
    "inference_config": {f"{head}_{kind}": 1.0 for head in ("VQ", "MQ", "TA") for kind in ("mean", "std")},
}  # fmt: skip


def safetensors(header: Any, length: int | None = None, data: bytes = bytes(32)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


class Payload:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(CANARY), "w")


def saved(value: Any, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def packed(pickled: bytes, compressed: bool = False) -> bytes:
    """A zip as torch writes it, with a pickle of our own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(10_000_000 if compressed else 24))
    return buffer.getvalue()


STATE = {"a.weight": torch.ones(2, 3), "b.bias": torch.ones(4, dtype=torch.bfloat16)}
SAVED = (
    saved(STATE), saved({"state_dict": STATE}), saved(STATE, old=True), saved([1]), saved({"a": Payload()}),
    saved({"a": Payload()}, old=True), packed(pickle.dumps(Payload())), pickle.dumps(Payload()),
    pickle.dumps({"a": Payload()}, protocol=4), packed(pickle.dumps(STATE and {"a": 1})),
    packed(pickle.dumps({"a": 1}), compressed=True), saved({"a": torch.zeros(1).expand(10**6, 10**6)}),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read_all(path: Path) -> None:
    check_weight_file(path)
    layout_of(path)
    check_numbers(read_weights(path), str(path))


HEADERS = st.one_of(
    mutated_value(HEADER).map(safetensors),
    mutated(safetensors(HEADER)),
    st.builds(safetensors, json_texts(HEADER), st.one_of(st.none(), st.integers(0, 2**64 - 1))),
    garbage,
)


@given(content=HEADERS)
def test_safetensors(content: bytes, folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(content)
    kept("safetensors", lambda: read_all(folder / "a.safetensors"), folder)
    kept("safetensors, ours", lambda: load_weights(folder / "a.safetensors"), folder)


@given(content=st.one_of(json_texts(INDEX), garbage))
def test_indexes(content: bytes, folder: Path) -> None:
    inner = folder / "shards"
    inner.mkdir(exist_ok=True)
    (inner / "one.safetensors").write_bytes(safetensors(HEADER))
    (inner / "model.safetensors.index.json").write_bytes(content)
    kept("indexes", lambda: [read_all(file) for file in weight_files(inner)], folder)


@given(content=st.one_of(mutated(*SAVED), st.sampled_from(SAVED), garbage))
def test_files_of_torch(content: bytes, folder: Path) -> None:
    (folder / "a.pt").write_bytes(content)
    kept("files of torch", lambda: read_all(folder / "a.pt"), folder)


@given(content=json_texts(VIDEOREWARD))
def test_configurations(content: bytes, folder: Path) -> None:
    (folder / "model_config.json").write_bytes(content)
    kept("configurations", lambda: Settings.read(folder / "model_config.json"), folder)
    kept("configurations", lambda: read_sizes(folder / "model_config.json"), folder)
    kept("configurations", lambda: read_json(folder / "model_config.json"), folder)
