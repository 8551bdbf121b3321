import pytest

from tests.parity.goldens import GoldenSet, golden_sets

SETS = golden_sets()


@pytest.fixture(scope="session", params=SETS, ids=[path.name for path in SETS])
def golden(request: pytest.FixtureRequest) -> GoldenSet:
    return GoldenSet(request.param)
