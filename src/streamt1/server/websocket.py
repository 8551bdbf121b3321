"""A session on a socket: JSON events, and the final chunks as pieces of a video while the search goes on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool

from streamt1.core.errors import BusyError, ConfigError, ForbiddenError, StreamT1Error, TooLargeError
from streamt1.core.json_text import parse_json as stored
from streamt1.server import patience
from streamt1.server.body import parse_json
from streamt1.server.errors import answer_to
from streamt1.server.events import QUIET, begins, last_word, said
from streamt1.server.routes import ordered, service_of
from streamt1.server.schemas import FieldError, Job
from streamt1.server.service import Service
from streamt1.server.sessions import Viewer

NORMAL, POLICY, TRY_LATER, INTERNAL, RESTART = 1000, 1008, 1013, 1011, 1012
AHEAD = 10.0
"""Seconds of video that a client gets before it has had the time to play them: one that plays while it reads answers
pings between its messages, and both sides end a connection on which a ping waits for twice as long."""
ONCE = "idempotency_key"
"""A field of a request on a socket, which has no header of its own: by what it is known if it is sent again."""
router = APIRouter()


@dataclass(frozen=True)
class Order:
    """What a client wants to view.

    Attributes:
        after: the id of the last message that it knows.
        ahead: see ``AHEAD``.
    """

    job: Job
    kind: str
    after: str | None
    ahead: float


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """One request in, of a new video or of one that is there; events and pieces of video out.

    A stream without a length goes on until the client says ``{"end": true}``, and takes ``{"prompt": ...}`` meanwhile.
    """
    service = service_of(socket)
    await socket.accept()
    try:
        owner = service.auth.check(socket)
        order = await _order(socket, service, owner)
        session = await run_in_threadpool(service.queue.session, order.job.id)
    except StreamT1Error as error:
        return await _refuse(socket, error)
    except WebSocketDisconnect:
        return
    try:
        with Viewer(session, order.after) as viewer:
            await socket.send_json(await run_in_threadpool(begins, service, order.job, order.kind))
            sending = _send(socket, viewer, service, order.ahead)
            listening = _listen(socket, service, order.job.id, owner)
            await until_first(sending, listening, _stay_allowed(socket, service, owner))
    except ForbiddenError as error:
        await _refuse(socket, error)
    except (WebSocketDisconnect, RuntimeError, StreamT1Error, asyncio.TimeoutError):
        return


async def _order(socket: WebSocket, service: Service, owner: str | None) -> Order:
    """A new job, or one that is there. Raises what is wrong with either, and ``WebSocketDisconnect``."""
    ahead = _seconds(socket.query_params.get("ahead"))
    fields = await _request(socket, service)
    if not isinstance(fields, dict) or "attach" not in fields:
        key = fields.pop(ONCE, None) if isinstance(fields, dict) else None
        if not isinstance(key, str | None):
            raise FieldError(ONCE, "it must be a text")
        return Order(await run_in_threadpool(ordered, service, fields, key, owner, True), "queued", None, ahead)
    name, after = fields["attach"], fields.get("after")
    if not fields.keys() <= {"attach", "after"} or not isinstance(name, str) or not isinstance(after, str | None):
        raise ConfigError('say {"attach": ID}, and "after": the id of the last message that is known')
    await run_in_threadpool(service.queue.check_owner, name, owner)
    return Order(await run_in_threadpool(service.queue.get, name), "attached", after, ahead)


def _seconds(text: str | None) -> float:
    try:
        seconds = AHEAD if text is None else float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigError(f"ahead={(text or '')[:32]!r} is no number of seconds: give 0 or more, or inf")
    return seconds


async def _request(socket: WebSocket, service: Service) -> Any:
    """The client's first message. Raises ``ConfigError`` and ``TooLargeError``."""
    limits = service.queue.limits
    try:
        message = await asyncio.wait_for(socket.receive(), limits.patience)
    except asyncio.TimeoutError as error:
        raise ConfigError(f"no request came within {limits.patience:g} seconds") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL))
    text = message.get("text") or message.get("bytes") or ""
    if len(text) > limits.body:
        raise TooLargeError(f"the request is longer than {limits.body} bytes")
    return parse_json(text)


async def _send(socket: WebSocket, viewer: Viewer, service: Service, ahead: float) -> None:
    """Sends what is told, no faster than the client can have played it, and the last word."""
    loop, begun = asyncio.get_running_loop(), None
    async for record in viewer.records(QUIET):
        if record is None:
            await _sent(socket.send_text('{"event": "here"}'))
            continue
        if record.piece:
            start = stored(record.text).get("start", 0.0)
            begun = loop.time() - start if begun is None else begun
            await viewer.pause(begun + start - ahead - loop.time())
            if viewer.over:
                break
        await _sent(socket.send_text(f'{record.text[:-1]}, "id": "{record.id}"}}'))
        if record.piece:
            await _sent(socket.send_bytes(record.piece))
    word = await run_in_threadpool(last_word, service, viewer.session)
    await _sent(socket.send_text(json.dumps(word)))
    await socket.close(NORMAL if viewer.session.last is not None else RESTART)


async def _sent(sending: Any) -> None:
    await asyncio.wait_for(sending, patience.STALLED)


async def _stay_allowed(socket: WebSocket, service: Service, owner: str | None) -> None:
    """Raises ``ForbiddenError`` once the key that opened the socket does not count any more."""
    while True:
        await asyncio.sleep(QUIET)
        service.auth.check_again(socket, owner)


async def _listen(socket: WebSocket, service: Service, name: str, owner: str | None) -> None:
    """Takes what the client says while its video is made; returns when it has closed. Raises ``ForbiddenError``."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        service.auth.check_again(socket, owner)
        text = message.get("text") or message.get("bytes") or ""
        try:
            if len(text) > service.queue.limits.body:
                raise TooLargeError(f"the message is longer than {service.queue.limits.body} bytes")
            answer = await run_in_threadpool(said, parse_json(text), service, name)
        except StreamT1Error as error:
            answer = {"event": "not_understood", **answer_to(error)[1]}
        await socket.send_text(json.dumps(answer))


async def until_first(*tasks: Any) -> None:
    """Runs until one is done, and ends the others; its error is raised, and theirs are not. All are ended where this is
    cancelled, too."""
    running = [asyncio.ensure_future(task) for task in tasks]
    done: set[asyncio.Future[Any]] = set()
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)  # not gather, whose error would not say which scope was cancelled
        for task in running:
            if not task.cancelled():
                task.exception()  # has been looked at, or asyncio would log it
    for task in done:
        task.result()


async def _refuse(socket: WebSocket, error: StreamT1Error) -> None:
    status, body = answer_to(error)
    later = {"retry_after": error.retry_after} if isinstance(error, BusyError) else {}
    code = TRY_LATER if later else INTERNAL if status >= 500 else POLICY
    try:
        await socket.send_json({"event": "refused", **body, **later})
        await socket.close(code, "forbidden" if isinstance(error, ForbiddenError) else "refused")
    except (WebSocketDisconnect, RuntimeError):
        return
