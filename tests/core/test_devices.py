import pytest
import torch

from streamt1.core.devices import Halving


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
