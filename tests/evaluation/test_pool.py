import pytest

from streamt1.config.load import load_config
from streamt1.evaluation.pool import open_pool
from streamt1.pipeline.pipeline import Pipeline


def chunks_of(pipeline: Pipeline, seconds: float) -> int:
    if seconds < 0:
        raise ValueError("a negative length")
    return pipeline.chunks_for(seconds)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs: int) -> None:
    with open_pool(load_config("pocket"), jobs) as pool:
        assert pool.map(chunks_of, [5.0, 2.0, 30.0]) == [7, 3, 40]
        with pytest.raises(ValueError, match="negative"):
            pool.map(chunks_of, [5.0, -1.0])
