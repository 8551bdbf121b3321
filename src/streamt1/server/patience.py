"""Connections that wait only so long: for a request's head, and for a client that takes nothing; and only so many."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

PATIENCE = 15.0
"""Seconds from the first byte of a request, or from the opening of a connection, to the end of its head."""
STALLED = 600.0
"""Seconds that a client may take for what waits to be sent to it; then it is given up."""
FILES = 65536
"""That a server asks to have open at once, where it may."""
LINGER = 1.0
"""Seconds in which a client that still sends can read the answer."""
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def ask_for_files() -> None:
    """Raises the number of files that this process may have open, as far as it may: a connection is one."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """At once: half of the files that may be open; the rest is for videos and the database."""
    if sys.platform == "win32":
        return FILES // 2
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (FILES if soft == resource.RLIM_INFINITY else min(FILES, soft)) // 2


class _Drained(asyncio.Protocol):
    """Ends a connection whose client has not taken what it is sent for ``STALLED`` seconds; for a protocol of uvicorn.

    A single byte that waits counts, since a connection that is closed waits for it, too.
    """

    loop: Any
    transport: Any
    _stalls: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(0)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalls = self._stalls or self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        self._drained()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._drained()
        super().connection_lost(exc)

    def _drained(self) -> None:
        if self._stalls is not None:
            self._stalls.cancel()
            self._stalls = None


class PatientWebSocket(_Drained, AutoWebSocketsProtocol):  # pyright: ignore[reportGeneralTypeIssues,reportUntypedBaseClass]
    """uvicorn's protocol of websockets."""


class PatientProtocol(_Drained, H11Protocol):
    """uvicorn's protocol, which waits for ever for the rest of a head."""

    _ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._stop()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """What waits to be sent is the new protocol's from now on: this one does not hear when it has gone."""
        super().handle_websocket_upgrade(event)
        if self._stalls is not None:
            self._drained()
            self.transport.get_protocol().pause_writing()

    def on_response_complete(self) -> None:
        """A request that was answered before it had come whole is not waited for."""
        early = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()  # may begin with a request that came behind it
        if early:
            self.loop.call_later(LINGER, self._leave, self.cycle)

    def _leave(self, cycle: object) -> None:
        """Closes, unless the rest of that request came after all."""
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Begins to count, unless it has begun."""
        if self._ends is None:
            self._ends = self.loop.call_later(PATIENCE, self._cut)

    def _stop(self) -> None:
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def _cut(self) -> None:
        self._ends = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()
