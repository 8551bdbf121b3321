"""The application: routes over a service, which opens and closes with it, on a port."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn.config import STARTUP_FAILURE

from streamt1.core.errors import AddressError, ConfigError
from streamt1.server import events, page, reference, routes, websocket
from streamt1.server.errors import InShape, answer_errors
from streamt1.server.keys import KeyFile
from streamt1.server.limits import Limits
from streamt1.server.logs import Format, log_config
from streamt1.server.models import LoadedPresets
from streamt1.server.patience import PatientProtocol, PatientWebSocket, ask_for_files
from streamt1.server.service import Service
from streamt1.server.webhooks import Hook

log = logging.getLogger("streamt1.server")
PARTS = (routes, events, websocket, page, reference)
"""Modules that have a router."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def make_app(service: Service, hosts: Sequence[str] = ()) -> FastAPI:
    """An ASGI application.

    Args:
        service: what is served; its workers begin with the application and end with it.
        hosts: names under which it may be addressed, any by default. A server for this machine alone answers to this
            machine's names alone, or a page of another site could reach it under a name of that site.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.open()
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(title="streamt1", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service, app.state.pictures = service, asyncio.Lock()
    for part in PARTS:
        app.include_router(part.router)
    app.state.routes = [route for part in PARTS for route in part.router.routes]
    answer_errors(app)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[_bare(host) for host in hosts])
    app.add_middleware(InShape)
    if service.auth.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=service.auth.origins, allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Range"],
            expose_headers=["Content-Range", "ETag", "Retry-After", "X-Image-Size"],
        )  # fmt: skip
    return app


def _bare(host: str) -> str:
    return host.partition(":")[0] if not host.startswith("[") else host


def check_address(host: str, locked: bool, names: Sequence[str] = ()) -> None:
    """Raises ``ConfigError`` for a server that anybody in the network could use: ``locked`` ones want a key."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]+\]", name):
            raise ConfigError(
                f"--hostname {name[:80]!r} is no name: write videos.example.org, without https:// and port"
            )
    if not locked and (names or not is_loopback(host)):
        said = f"--hostname {names[0]}" if names else f"--host {host}"
        raise ConfigError(
            f"{said} opens the server to the network: set STREAMT1_API_KEY to a key that its users must send, or"
            " name a file of keys with --keys"
        )


def door_at(host: str, port: int) -> socket.socket:
    """A socket that has the address from now on, before models are loaded, and listens later; port 0 is any free one.

    Nobody else gets the port meanwhile, who may ask for any that is free, as Ray's processes do. Raises
    ``AddressError`` where nothing can listen.
    """
    door = None
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(kind, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return door
    except OSError as error:
        if door is not None:
            door.close()
        raise AddressError(
            f"nothing can listen on {host}:{port} ({error.strerror or error}): give another --port or --host, or end"
            " what listens there"
        ) from error


KEPT_OPEN = 75
"""Seconds that a connection stays open after an answer: longer than proxies keep one (nginx: 60), or a request that a
proxy sends on one that is just being closed is lost."""
PONG = 120.0
"""Seconds that a websocket's client may take to answer a ping."""
FAREWELL = 2.0
"""Seconds that viewers have to hear that the server stops."""
LONGEST_MESSAGE = 1 << 20
"""Bytes on a websocket, of which we say that they are too many; a longer message ends the connection (code 1009)."""


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(
    devices: Sequence[LoadedPresets], data: Path, limits: Limits, key: str | None, host: str, door: socket.socket,
    keys: KeyFile | None = None, origins: Sequence[str] = (), hook: Hook | None = None, log_format: Format = "text",
    names: Sequence[str] = (),
) -> None:  # fmt: skip
    """Serves at a door until it is told to stop; ``names`` are those by which a proxy addresses it.

    Raises ``ConfigError`` and ``OutputError`` before it begins.
    """
    check_address(host, bool(key) or keys is not None, names)
    ask_for_files()
    service = Service.over(devices, data, limits, key, keys, origins, hook)
    app = make_app(service, (*LOOPBACK, host, *names) if is_loopback(host) else ())
    server = Server(
        app, log_level="info", log_config=log_config(log_format), access_log=False,
        timeout_graceful_shutdown=5, server_header=False, ws_max_size=max(limits.body + 1024, LONGEST_MESSAGE),
        ws_ping_timeout=PONG,
    )  # fmt: skip
    with suppress(KeyboardInterrupt):
        server.run([door])
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


class Server(uvicorn.Server):
    """Serves an application of ``make_app``; takes the settings of ``uvicorn.Config``. Viewers hear when it stops."""

    def __init__(self, app: FastAPI, **settings: Any) -> None:
        protocols: dict[str, Any] = {"http": PatientProtocol, "ws": PatientWebSocket}
        super().__init__(uvicorn.Config(app, **protocols, timeout_keep_alive=KEPT_OPEN, **settings))
        self._queue = app.state.service.queue

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``, which does not tell where sockets listen that were made before it.

        What is left in the kernel of connections of a server before, which was killed, keeps no door from listening.
        """
        for door in sockets or ():
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before, see ``door_at``
        await super().startup(sockets)
        for door in sockets or ():
            host, port, *_ = door.getsockname()
            log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``."""
        end = time.monotonic() + FAREWELL
        while self._queue.interrupt() and time.monotonic() < end:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
