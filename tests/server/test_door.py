"""The port that a server will listen on is its own from the first moment."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Thread

import httpx
import pytest

from streamt1.core.errors import AddressError
from streamt1.server.app import Server, door_at, make_app
from tests.server.toy import toy_service


def test_nobody_else_gets_the_port_before_the_server_listens() -> None:
    with door_at("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
        with pytest.raises(AddressError, match=f"nothing can listen on 127.0.0.1:{port}"):
            door_at("127.0.0.1", port)
    door_at("127.0.0.1", port).close()


def test_a_server_listens_at_its_door_and_says_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "streamt1.server")
    with door_at("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        server = Server(make_app(toy_service(tmp_path, lambda: None)), log_level="warning", timeout_graceful_shutdown=2)
        thread = Thread(target=server.run, args=([door],))
        thread.start()
        try:
            while not server.started:
                thread.join(0.02)
                assert thread.is_alive()
            assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        finally:
            server.should_exit = True
            thread.join(20)
    assert f"listening on http://127.0.0.1:{port}" in caplog.text


def test_a_server_that_ends_before_its_clients_leaves_its_port(tmp_path: Path) -> None:
    """Its side of a connection stays in the kernel for a minute; the next server does not wait for that."""
    port = 0
    for life in range(2):
        with door_at("127.0.0.1", port) as door, socket.socket() as client:
            port = door.getsockname()[1]
            service = toy_service(tmp_path / str(life), lambda: None)
            server = Server(make_app(service), log_level="warning", timeout_graceful_shutdown=2)
            thread = Thread(target=server.run, args=([door],))
            thread.start()
            while not server.started:
                thread.join(0.02)
                assert thread.is_alive()
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
            server.should_exit = True
            thread.join(20)
            while client.recv(1 << 16):
                pass
