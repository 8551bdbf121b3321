"""Clients that send slowly, on raw sockets."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from streamt1.server import body, patience, websocket
from streamt1.server.service import Service
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


SMALL = 4096
"""Bytes that the system is asked to hold, on either side."""
WAITS = 60000
"""Bytes of an answer: more than the system holds, and less than what pauses a writer by default."""


def masked(text: str) -> bytes:
    """A client's message of less than 64 KiB on a websocket, masked with zeros."""
    content = text.encode()
    return b"\x81\xfe" + len(content).to_bytes(2, "big") + bytes(4) + content


def upgrade() -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        "GET /v1/stream?ahead=inf HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def taken_late(address: str, after: float, sent: bytes, said: bytes = b"") -> int:
    """Bytes that a client gets that takes nothing for so many seconds, until the connection ends.

    Args:
        said: sent on a socket, once it is open.
    """
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.connect((host, int(port)))
        client.sendall(sent)
        if said:
            assert client.recv(1000).startswith(b"HTTP/1.1 101")
            client.sendall(said)
        time.sleep(after)
        client.settimeout(5)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(1 << 16):
                got += len(part)
        return got


@pytest.fixture
def small(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, bytes]]:
    """The address of a server that waits 0.6 s, a video of it, and a request for its content."""
    monkeypatch.setattr(patience, "STALLED", 0.6)
    with listening(service, SMALL) as address:
        with httpx.Client(base_url=address) as client:
            name = client.post("/v1/videos", json=ORDER).json()["id"]
            until(lambda: client.get(f"/v1/videos/{name}").json()["status"] == "completed")
        with (service.queue.folder / name / "video.mp4").open("r+b") as file:
            file.truncate(WAITS)
        yield address, name, f"GET /v1/videos/{name}/content HTTP/1.1\r\nHost: x\r\n".encode()


@pytest.mark.parametrize("way", ["answer", "socket", "socket behind an answer"])
def test_who_does_not_take_the_last_bytes_is_let_go(
    small: tuple[str, str, bytes], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """What waits is little, and the server has closed, which waits for it."""
    address, name, answer = small
    closed = answer + b"Connection: close\r\n\r\n"
    if way == "socket":
        monkeypatch.setattr(websocket, "begins", lambda *_: {"event": "attached", "padding": "x" * WAITS})
        got = taken_late(address, 1.5, upgrade(), masked(json.dumps({"attach": name})))
    else:
        got = taken_late(address, 1.5, closed if way == "answer" else answer + b"\r\n" + upgrade())
    assert 0 < got < WAITS
    assert taken_late(address, 0, closed) > WAITS, "who takes it has it"


def test_a_socket_outlives_an_answer_that_was_taken_before_it(small: tuple[str, str, bytes]) -> None:
    address, _, answer = small
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.connect((host, int(port)))
        client.settimeout(5)
        client.sendall(answer + b"\r\n" + upgrade())
        time.sleep(0.2)
        got = b""
        while b"HTTP/1.1 101" not in got or not got.endswith(b"\r\n\r\n"):
            got += client.recv(1 << 16)
        time.sleep(1)
        client.sendall(masked("{}"))
        assert b"refused" in client.recv(1 << 16)
