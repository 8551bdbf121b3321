from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra: pip install 'streamt1[serve]'")

from fastapi.testclient import TestClient

from streamt1.server.app import make_app
from streamt1.server.service import Service
from tests.server.toy import Gate, toy_service


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def service(tmp_path: Path, gate: Gate) -> Service:
    return toy_service(tmp_path, gate)


@pytest.fixture
def client(service: Service, gate: Gate) -> Iterator[TestClient]:
    with TestClient(make_app(service)) as client:
        yield client
        gate.open()
