"""Requests that nobody would send; many more of them by ``python -m tests.server.fuzz_requests``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.fuzz_requests import fuzz


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_request_is_the_server_s_fault(tmp_path: Path, count: int) -> None:
    statuses, wrong, left = fuzz(tmp_path, count, seed=count)
    assert wrong == []
    assert left == []
    assert sum(statuses.values()) == count
    assert {200, 400, 404, 405} <= statuses.keys()
