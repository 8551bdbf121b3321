"""Snapshots as files: whole or refused, in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from streamt1.core.errors import CheckpointError, OutputError, StreamT1Error
from streamt1.core.seeds import generator
from streamt1.core.snapshot import DIGEST, FORM, TOLD, Snapshot, _digest
from streamt1.core.tensor_files import write_tensors


def snapshot() -> Snapshot:
    tensors = {
        "pages.0.keys": torch.randn(2, 3, 2, 32, generator=generator(0)),
        "pages.0.values": torch.randn(2, 3, 2, 32, generator=generator(1)).bfloat16(),
        "past.0": torch.randn(2, 2, generator=generator(2)),
    }
    return Snapshot("toy", tensors, {"chunks": 1, "route": None, "sizes": (1, 2), "word": "é"})


def same(one: Snapshot, other: Snapshot) -> bool:
    """Whether both say and hold the same."""
    told = (one.kind, one.metadata, one.packed) == (other.kind, other.metadata, other.packed)
    return told and one.tensors.keys() == other.tensors.keys() and all(
        tensor.dtype is other.tensors[name].dtype and torch.equal(tensor, other.tensors[name])
        for name, tensor in one.tensors.items()
    )  # fmt: skip


def written(path: Path, told: Any, tensors: dict[str, torch.Tensor]) -> Path:
    """A file that is what its digest says, whatever that is."""
    text = told if isinstance(told, str) else json.dumps(told)
    write_tensors(path, tensors, {FORM: "1", TOLD: text, DIGEST: _digest(text, tensors)})
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for one in (snapshot(), snapshot().in_four_bits(), Snapshot("toy", {}, {})):
        assert one.write(tmp_path / "a.safetensors") == tmp_path / "a.safetensors"
        assert same(Snapshot.read(str(tmp_path / "a.safetensors")), one)
    assert snapshot().metadata["sizes"] == [1, 2], "as JSON has it, before it is written too"


def test_keys_and_values_in_four_bits(tmp_path: Path) -> None:
    plain = snapshot()
    small = plain.in_four_bits()
    assert set(small.packed) == {"pages.0.keys", "pages.0.values"}
    assert small.tensors["past.0"] is not None
    assert torch.equal(small.tensor("past.0"), plain.tensor("past.0"))
    for name, told in small.packed.items():
        back = small.tensor(name)
        assert back.dtype is plain.tensor(name).dtype
        assert (back.double() - plain.tensor(name).double()).abs().max() == told.lost.largest > 0
    assert small.nbytes == 2 * (2 * 3 * 2 * (16 + 4)) + 16, "5 bits a number"
    assert small.in_four_bits().tensors.keys() == small.tensors.keys(), "once is enough"
    assert {one.group for one in plain.in_four_bits(64).packed.values()} == {32}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value: float, tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.tensor([1.0, value])}
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in 'b'.*go on from an earlier branch"):
        Snapshot("toy", tensors, {})
    path = written(tmp_path / "a.safetensors", {"kind": "toy", "metadata": {}, "packed": {}}, tensors)
    with pytest.raises(CheckpointError, match="NaN or infinite values in 'b'"):
        Snapshot.read(path)


def test_what_no_file_can_hold_is_an_error_of_the_caller() -> None:
    with pytest.raises(TypeError):
        Snapshot("toy", {}, {"a": torch.ones(1)})
    with pytest.raises(ValueError):
        Snapshot("toy", {}, {"a": float("nan")})
    with pytest.raises(ValueError, match="which is of torch"):
        Snapshot("toy", {"a": torch.ones(1, dtype=torch.complex64)}, {})


def test_names_end_as_safetensors_do(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"must end in \.safetensors, and 'a\.pt' does not"):
        snapshot().write(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt: No such file"):
        Snapshot.read(tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.pt").touch()
    with pytest.raises(CheckpointError, match=r"does not end in \.safetensors"):
        Snapshot.read(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot read"),
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of git-lfs"),
        (b'{"error": "not found"}', "is JSON"),
        (b"PK\x03\x04" + bytes(100), "torch.save or a zip"),
        (bytes(100), "begins with zeros"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_files_of_other_kinds_are_named(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        Snapshot.read(path)
    (tmp_path / "b.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot read"):
        Snapshot.read(tmp_path / "b.safetensors")


def test_a_weights_file_is_no_snapshot(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, str(tmp_path / "a.safetensors"), {"config": "{}"})
    with pytest.raises(CheckpointError, match="holds tensors, but no snapshot of a memory"):
        Snapshot.read(tmp_path / "a.safetensors")


def test_another_version_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {}, {FORM: "2", TOLD: "{}", DIGEST: ""})
    with pytest.raises(CheckpointError, match="of version '2', and 1 is read here"):
        Snapshot.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "told",
    [
        "", "[", "5", [], {}, {"kind": "toy"}, {"kind": "toy", "metadata": 5, "packed": {}},
        {"kind": "toy", "metadata": {}, "packed": []}, {"kind": "toy", "metadata": {}, "packed": {"a": {}}},
        {"kind": "toy", "metadata": {"a": float("nan")}, "packed": {}},
        {"kind": "toy", "metadata": {}, "packed": {"a": {"dtype": "F32", "group": float("inf"), "lost": {}}}},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_snapshot_tells_is_refused(told: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="was not written as a snapshot is"):
        Snapshot.read(written(tmp_path / "a.safetensors", told, {}))


def test_damage_anywhere_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """Every byte of the header and every eleventh behind it, flipped; and the file cut there."""
    one, path = snapshot(), tmp_path / "a.safetensors"
    content = one.write(path).read_bytes()
    refused = harmless = tried = 0
    for place in (*range(800), *range(800, len(content), 11)):
        for damaged in (
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :],
            content[:place],
        ):
            path.write_bytes(damaged)
            tried += 1
            try:
                assert same(Snapshot.read(path), one)
                harmless += 1
            except StreamT1Error as error:
                refused += len(str(error).splitlines()) == 1
    assert refused + harmless == tried > 1000
    assert harmless < 20, "spaces behind the header"


def test_safetensors_reads_a_snapshot_too(tmp_path: Path) -> None:
    with safe_open(str(snapshot().write(tmp_path / "a.safetensors")), framework="pt") as file:
        assert torch.equal(file.get_tensor("past.0"), snapshot().tensor("past.0"))
        assert json.loads(file.metadata()[TOLD])["kind"] == "toy"


def test_what_differs_is_named() -> None:
    one = Snapshot("toy", {}, {"rules": {"window": 12, "sink": 3, "gone": 1}})
    one.check_same("rules", {"window": 12, "sink": 3, "gone": 1}, "", "")
    with pytest.raises(CheckpointError) as told:
        one.check_same("rules", {"window": 12, "sink": 6}, "under other rules", "set them")
    assert str(told.value) == (
        "the snapshot was made under other rules (gone is 1 there and missing here, sink is 3 there and 6 here):"
        " set them"
    )
    strange = Snapshot("toy", {}, {"rules": {f"a\n{i}": "b\n" * 999 for i in range(999)}})
    with pytest.raises(CheckpointError, match=r"^the snapshot was made x \(a 0 is b b .* here, \.\.\.\): y$") as told:
        strange.check_same("rules", {}, "x", "y")
    assert len(str(told.value)) < 2500
    with pytest.raises(CheckpointError, match="does not tell its model"):
        one.check_same("model", {}, "", "")
