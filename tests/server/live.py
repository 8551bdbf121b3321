"""A server on a port of this process, for clients that want a real one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from streamt1.server.app import Server, make_app
from streamt1.server.service import Service
from tests.server.toy import until


@contextmanager
def listening(service: Service, held: int | None = None) -> Iterator[str]:
    """The server's address, as long as the block lasts; ``held``: bytes that the system is to hold of an answer."""
    with socket.socket() as listener:
        if held is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, held)
        listener.bind(("127.0.0.1", 0))
        server = Server(make_app(service), log_level="warning", timeout_graceful_shutdown=2)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
