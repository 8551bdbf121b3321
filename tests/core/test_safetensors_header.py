import json
from pathlib import Path
from typing import Any

import pytest

from streamt1.core.errors import CheckpointError
from streamt1.core.safetensors_header import safetensors_header
from streamt1.core.weight_files import weight_files


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def written(path: Path, header: Any, data: bytes = bytes(8)) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_a_whole_header_is_read(tmp_path: Path) -> None:
    header = {"__metadata__": {"a": "b"}, "x": entry(shape=[1], offsets=[4, 8]), "y": entry(shape=[1], offsets=[0, 4])}
    assert list(safetensors_header(written(tmp_path / "a.safetensors", header))) == ["x", "y"]


@pytest.mark.parametrize(
    "header",
    [
        {"x": entry(shape=[-2])},
        {"x": entry(shape=[2.0])},
        {"x": entry(shape=[True, 2])},
        {"x": entry(shape=[3])},
        {"x": entry(shape=[10**30])},
        {"x": entry(shape=[1] * 20)},
        {"x": entry(dtype=5)},
        {"x": entry(dtype="F64")},
        {"x": entry(offsets=[8, 0])},
        {"x": entry(offsets=[-8, 0])},
        {"x": entry(offsets=[0, 8, 8])},
        {"x": entry(offsets="ab")},
        {"x": entry(), "y": entry()},
        {"x": entry(shape=[1], offsets=[4, 8])},
        {"x": []},
        [],
        5,
    ],
    ids=str,
)
def test_a_header_that_cannot_be_is_refused(header: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.safetensors is no whole safetensors file"):
        safetensors_header(written(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize(
    "index",
    [
        5, [], {}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 5}}, {"weight_map": {"a": ""}},
        {"weight_map": {"a": ".."}}, {"weight_map": {"a": "../b.safetensors"}}, {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "b\0"}}, {"weight_map": {"a": "b" * 999}}, {"weight_map": {"a": "gone.safetensors"}},
    ],
    ids=lambda index: str(index)[:40],
)  # fmt: skip
def test_an_index_that_cannot_be_is_refused(index: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError) as told:
        weight_files(path)
    assert str(tmp_path) in str(told.value)
