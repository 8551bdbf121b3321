import pytest
import torch
from torch import nn

from streamt1.core.devices import Halving, at_work, enough_memory
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
