from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from streamt1.core.errors import CheckpointError, OutputError
from streamt1.core.safetensors_header import read_header
from streamt1.core.tensor_files import TYPES, read_all_tensors, write_tensors

TENSORS = {
    **{str(dtype): torch.arange(6).view(2, 3).to(dtype) for dtype in TYPES.values()},
    "empty": torch.empty(0, 3), "scalar": torch.tensor(2.5), "odd": torch.arange(3, dtype=torch.uint8),
}  # fmt: skip


def test_what_is_written_is_read_here_and_by_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    write_tensors(path, TENSORS, {"told": 'é"\n'})
    header = read_header(path)
    assert header.texts == {"told": 'é"\n'}
    assert header.begin % 8 == 0
    ours = read_all_tensors(path, header)
    with safe_open(str(path), framework="pt") as file:
        assert file.metadata() == {"told": 'é"\n'}
        theirs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for found in (ours, theirs):
        assert found.keys() == TENSORS.keys()
        assert all(found[name].dtype is one.dtype and torch.equal(found[name], one) for name, one in TENSORS.items())


def test_what_was_read_stays_where_the_file_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(1000)}, {})
    found = read_all_tensors(path, read_header(path))
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(found["a"], torch.ones(1000))


def test_types_that_no_such_file_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(2, dtype=torch.uint16)}, str(path))
    with pytest.raises(CheckpointError, match="holds 'U16' numbers"):
        read_all_tensors(path, read_header(path))


def test_a_file_that_shrinks_or_goes_while_it_is_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(1000)}, {})
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="shorter"):
        read_all_tensors(path, header)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        read_all_tensors(path, header)


def test_a_full_disk_leaves_nothing(full_disk: Callable[..., AbstractContextManager[None]], tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OutputError, match="cannot write"):
        write_tensors(tmp_path / "new" / "a.safetensors", {"a": torch.ones(1000)}, {})
    assert not list(tmp_path.iterdir())
