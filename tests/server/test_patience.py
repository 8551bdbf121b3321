"""Clients that send slowly, on raw sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from streamt1.server import body, patience
from tests.server.live import listening
from tests.server.test_queue import ORDER
from tests.server.toy import Gate, toy_service, until

websockets = pytest.importorskip("websockets.sync.client")


@pytest.fixture
def address(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(patience, "PATIENCE", 0.4)
    monkeypatch.setattr(body, "PATIENCE", 0.4)
    with listening(toy_service(tmp_path, gate)) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        yield host, int(port)


def answer_to(address: tuple[str, int], first: bytes, rest: bytes, begin: float) -> tuple[bytes, float]:
    """What comes when ``rest`` is sent a byte at a time, and after how many seconds the server has closed."""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(first)
        client.settimeout(0.05)
        got = b""
        for number in range(200):
            with contextlib.suppress(OSError):
                client.sendall(rest[number : number + 1])
            try:
                part = client.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                part = b""
            if not part:
                return got, time.monotonic() - begin
            got += part
    raise AssertionError("the server waited on")


@pytest.mark.parametrize("first", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_that_comes_byte_by_byte_is_cut(address: tuple[str, int], first: bytes) -> None:
    """Of the first request of a connection, and of a later one."""
    head = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 300
    got, seconds = answer_to(address, first, head, time.monotonic())
    assert got.count(b"200 OK") == bool(first)
    assert b"408 Request Timeout" in got
    assert 0.3 < seconds < 3


def test_who_says_nothing_is_cut(address: tuple[str, int]) -> None:
    got, seconds = answer_to(address, b"", b"", time.monotonic())
    assert b"408" in got
    assert seconds < 3


def test_a_body_that_comes_byte_by_byte_is_cut(address: tuple[str, int]) -> None:
    head = b"POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
    got, seconds = answer_to(address, head, b" " * 5000, time.monotonic())
    assert b"408" in got
    assert b'"too_slow"' in got
    assert seconds < 4


def test_who_waits_for_an_answer_is_not_cut(address: tuple[str, int], gate: Gate) -> None:
    with httpx.Client(base_url="http://{}:{}".format(*address)) as client:
        assert client.get("/health").status_code == 200
        gate.shut()
        with websockets.connect("ws://{}:{}/v1/stream".format(*address)) as stream:
            stream.send(json.dumps(ORDER))
            until(lambda: gate.held)
            time.sleep(0.8)
            gate.open()
            assert json.loads([part for part in stream if isinstance(part, str)][-1])["event"] == "completed"
        assert client.get("/health").status_code == 200
