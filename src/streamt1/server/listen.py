"""An application on a port."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from streamt1.core.errors import ConfigError
from streamt1.server.app import LOOPBACK, make_app
from streamt1.server.limits import Limits
from streamt1.server.service import Service
from streamt1.server.studio import Studio


def check_address(host: str, key: str | None) -> None:
    """Raises ``ConfigError`` for a server that anybody in the network could use."""
    if not is_loopback(host) and not key:
        raise ConfigError(
            f"--host {host} opens the server to the network: set STREAMT1_API_KEY to a key that its users must send"
        )


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(studios: Sequence[Studio], data: Path, limits: Limits, key: str | None, host: str, port: int) -> None:
    """Serves until it is told to stop. Raises ``ConfigError`` and ``OutputError`` before it begins."""
    check_address(host, key)
    service = Service.over(studios, data, limits, key)
    app = make_app(service, (*LOOPBACK, host) if is_loopback(host) else ())
    uvicorn.run(
        app, host=host, port=port, log_level="info", access_log=False, ws_max_size=limits.body + 1024,
        timeout_graceful_shutdown=5, server_header=False,
    )  # fmt: skip
