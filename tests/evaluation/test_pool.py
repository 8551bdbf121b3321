import pytest

from streamt1.config.load import load_config
from streamt1.core.errors import DeviceLostError
from streamt1.evaluation.pool import open_pool
from streamt1.pipeline.pipeline import Pipeline


def chunks_of(pipeline: Pipeline, seconds: float) -> int:
    if seconds < 0:
        raise ValueError("a negative length")
    return pipeline.chunks_for(seconds)


def lost(pipeline: Pipeline, seconds: float) -> int:
    if seconds == 2:
        raise DeviceLostError("gone")
    return pipeline.chunks_for(seconds)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_lost_device_leaves_is_told_after_all_others(jobs: int) -> None:
    found = dict[int, int]()
    with open_pool(load_config("pocket"), jobs) as pool:
        results = pool.run(lost, [5.0, 2.0, 30.0])
        for _ in range(2):
            key, chunks = next(results)
            found[key] = chunks
        with pytest.raises(DeviceLostError, match="1 of 3 could not be made"):
            next(results)
    assert found == {0: 7, 2: 40}


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs: int) -> None:
    with open_pool(load_config("pocket"), jobs) as pool:
        assert pool.map(chunks_of, [5.0, 2.0, 30.0]) == [7, 3, 40]
        with pytest.raises(ValueError, match="negative"):
            pool.map(chunks_of, [5.0, -1.0])
