from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from streamt1.core.devices import Halving, at_work, enough_memory, pin
from streamt1.core.errors import OutOfMemoryError


def test_parts_are_halved_until_they_fit_and_the_size_is_remembered() -> None:
    tried: list[tuple[int, int]] = []

    def work(begin: int, end: int) -> list[int]:
        tried.append((begin, end))
        if end - begin > 3:
            raise torch.OutOfMemoryError
        return list(range(begin, end))

    halving = Halving()
    assert [item for part in halving.run(work, 10) for item in part] == list(range(10))
    assert halving.limit == 2
    tried.clear()
    halving.run(work, 4)
    assert tried == [(0, 2), (2, 4)]


def test_one_item_that_does_not_fit_is_an_error() -> None:
    def work(begin: int, end: int) -> None:
        raise torch.OutOfMemoryError(f"{begin}-{end}")

    with pytest.raises(torch.OutOfMemoryError, match="0-1"):
        Halving().run(work, 4)


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "the device"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), "the host"),
    ],
)
def test_running_out_of_memory_is_one_sentence(error: Exception, where: str) -> None:
    with (
        pytest.raises(OutOfMemoryError, match=f"^{where} ran out of memory while chunk 3 was searched; use"),
        enough_memory("chunk 3 was searched"),
    ):
        raise error


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), enough_memory("it ran"):
        raise RuntimeError("shapes differ")


def test_a_visiting_model_gets_back_the_very_tensors_that_it_had() -> None:
    """The meta device forgets all numbers: whatever were copied back from it would be lost."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    before = {name: (value.clone(), value.data_ptr()) for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    with at_work(torch.device("meta"), model):
        assert all(tensor.is_meta for tensor in model.state_dict().values())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name][0])
        assert value.data_ptr() == before[name][1]
    assert all(a is b for a, b in zip(model.parameters(), parameters)), "optimisers and ties still hold"


def test_a_visit_that_fails_ends_at_home_too() -> None:
    model = nn.Linear(3, 4)
    with pytest.raises(RuntimeError, match="broke"), at_work(torch.device("meta"), model):
        raise RuntimeError("broke")
    assert not model.weight.is_meta
    with at_work(torch.device("cpu"), model):
        assert not model.weight.is_meta, "at home already"


def lend(most: int) -> Any:
    """What is lent of locked memory, of which the system has so many bytes, and a patch that stands for it."""
    lent: list[int] = []
    empty = torch.empty

    def lock(size: int, dtype: torch.dtype, pin_memory: bool) -> Tensor:
        assert pin_memory
        if sum(lent) + size > most:
            raise RuntimeError("cudaHostAlloc failed")
        lent.append(size)
        return empty(size, dtype=dtype)

    return lent, mock.patch.object(torch, "empty", lock)


def test_tensors_are_locked_together_and_keep_their_values() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(torch.float64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters, (lent, locks) = list(model.parameters()), lend(10**6)
    with locks:
        pin(model)
    assert lent == [9 * 256], "one block; each tensor begins at a multiple of 256 bytes"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(a is b for a, b in zip(model.parameters(), parameters))
    assert parameters[0].untyped_storage().data_ptr() == parameters[1].untyped_storage().data_ptr()


def test_what_cannot_be_locked_stays() -> None:
    layers = [nn.Linear(64, 64, bias=False) for _ in range(3)]
    before, (lent, locks) = [layer.weight.data_ptr() for layer in layers], lend(40000)
    with locks, mock.patch("streamt1.core.devices.BLOCK", 20000):
        pin(*layers)
    assert lent == [64 * 64 * 4] * 2
    assert [layer.weight.data_ptr() == old for layer, old in zip(layers, before)] == [False, False, True]
