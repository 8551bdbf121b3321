"""Copies of pages beside the model: what is admitted, what it gives, and when it goes."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from streamt1.memory import Branch, DevicePages, Page, storage
from streamt1.memory.view import PageWriter, read

CPU = torch.device("cpu")
WIDE = storage.Reading(torch.float32)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each tensor that is brought over whole; the host stands for the device, where layers are views."""
    sizes: list[int] = []

    def copied(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        if tensor.ndim < 4:
            return tensor.to(dtype)
        dtype = dtype or tensor.dtype
        sizes.append(tensor.numel() * dtype.itemsize)
        return tensor.to(dtype, copy=True)

    monkeypatch.setattr(storage, "upload", copied)
    return sizes


def layer_in(copies: DevicePages, one: Page, layer: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    keys, values = copies.of(one, dtype)
    reading = storage.Reading(dtype, copies.device)
    return reading.layer(keys, layer), reading.layer(values, layer)


def page(chunk: int, dtype: torch.dtype = torch.float32) -> Page:
    keys, values = torch.randn(2, 2, 3, 1, 4).to(dtype)
    return Page(3 * chunk, keys, values, f"chunk {chunk}")


def test_a_page_crosses_once_whichever_layers_are_read(moved: list[int]) -> None:
    one, copies = page(0), DevicePages(CPU, 1e6)
    for layer in (0, 1, 0, 1):
        keys, values = layer_in(copies, one, layer, torch.float32)
        assert torch.equal(keys, one.keys[layer])
        assert torch.equal(values, one.values[layer])
    assert moved == [96, 96]
    assert copies.nbytes == one.nbytes


def test_copies_are_in_the_dtype_that_is_read(moved: list[int]) -> None:
    wide, copies = page(0), DevicePages(CPU, 96)
    keys, _ = layer_in(copies, wide, 1, torch.bfloat16)
    assert torch.equal(keys, wide.keys[1].bfloat16())
    assert copies.nbytes == 96 == wide.nbytes // 2


def test_what_does_not_fit_is_read_from_home_and_evicts_nobody(moved: list[int]) -> None:
    first, second = page(0), page(1)
    copies = DevicePages(CPU, first.nbytes)
    for one in (first, second, first, second):
        assert torch.equal(layer_in(copies, one, 0, torch.float32)[0], one.keys[0])
    assert moved == [96, 96]
    assert copies.fits(1) is False


def test_a_copy_goes_with_its_page_and_leaves_room(moved: list[int]) -> None:
    first, second = page(0), page(1)
    copies = DevicePages(CPU, first.nbytes)
    layer_in(copies, first, 0, torch.float32)
    del first
    gc.collect()
    assert copies.nbytes == 0
    layer_in(copies, second, 0, torch.float32)
    assert copies.nbytes == second.nbytes


def test_a_page_kept_in_another_dtype_has_the_same_copy(moved: list[int]) -> None:
    wide, copies = page(0), DevicePages(CPU, 1e6)
    layer_in(copies, wide, 0, torch.bfloat16)
    narrow = wide.kept_in(torch.bfloat16)
    del wide
    assert torch.equal(layer_in(copies, narrow, 0, torch.bfloat16)[0], narrow.keys[0])
    assert len(moved) == 2
    other = narrow.with_content(narrow.keys, narrow.values, "blend")
    layer_in(copies, other, 0, torch.bfloat16)
    assert len(moved) == 4, "new content is another page's"


def test_branches_are_read_through_copies(moved: list[int]) -> None:
    branch, copies = Branch(sinks=(page(0),), window=(page(1), page(2))), DevicePages(CPU, 200)
    for layer in (0, 1):
        for ours, theirs in zip(read(branch, layer, WIDE, copies), read(branch, layer, WIDE)):
            assert torch.equal(ours, theirs)
    assert moved == [96, 96]


def test_what_is_being_written_has_its_room() -> None:
    """Several chunks that are written in one pass do not all take the room of one."""
    first = page(0)
    copies = DevicePages(CPU, 2.5 * first.nbytes)
    copies.keep(first, first.keys, first.values)
    writing = copies.reserve(first.nbytes)
    assert writing is not None
    assert copies.reserve(first.nbytes) is None
    assert not copies.fits(first.nbytes)
    del writing
    gc.collect()
    assert copies.fits(first.nbytes), "whoever gives up gives back"


def test_what_is_written_where_it_lives_has_no_copy() -> None:
    copies = DevicePages(CPU, 1e6)
    writer = PageWriter(0, 1, CPU, copies)
    writer.write(0, torch.ones(3, 1, 4), torch.ones(3, 1, 4))
    written = writer.page("chunk 0", None)
    assert copies.nbytes == 0
    assert written.keys.shape == (1, 3, 1, 4)
