import pytest
import torch

from streamt1.core.devices import Halving, enough_memory
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
