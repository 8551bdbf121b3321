import warnings
from collections.abc import Iterator

import pytest

from streamt1.core.errors import StreamT1Warning


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Warnings of devices that are lost on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StreamT1Warning)
        yield
