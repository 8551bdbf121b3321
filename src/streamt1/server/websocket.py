"""A search on a socket: JSON events, and the committed chunks as fragments while the search goes on."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from torch import Tensor

from streamt1.core.errors import BusyError, Cancelled, ConfigError, ForbiddenError, StreamT1Error, TooLargeError
from streamt1.core.remote import Frames, applied
from streamt1.media.fragments import FragmentWriter
from streamt1.media.pixels import shown
from streamt1.media.thumbnails import middle_thumbnail
from streamt1.pipeline.session import Live
from streamt1.server.body import parse_json
from streamt1.server.errors import answer_to
from streamt1.server.queue import JobWatcher
from streamt1.server.routes import service_of
from streamt1.server.schemas import CheckedRequest, Job
from streamt1.server.service import Service
from streamt1.trace.events import Event

NORMAL, POLICY, TRY_LATER, INTERNAL = 1000, 1008, 1013, 1011
Message = str | bytes | None
router = APIRouter()


class Channel(JobWatcher):
    """Carries what a worker's thread hears to the loop that sends it; None ends the messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self._loop, self._begin = loop, time.perf_counter()
        self._fragments: FragmentWriter | None = None
        self._fps = 16

    def happened(self, event: Event) -> None:
        if event.kind == "run_started":
            self._begin, self._fps = time.perf_counter(), event.record()["fps"]
        self.say(event.record())

    def proposed(self, candidate: int, frames: Frames) -> None:
        picture = base64.b64encode(applied(middle_thumbnail, frames)).decode()
        self.say({"event": "picture", "candidate": candidate, "webp": picture})

    def settled(self, chunk: int, frames: Tensor) -> None:
        """The first chunk brings the header along; every fragment is announced."""
        writer = self._fragments = self._fragments or FragmentWriter(self._fps)
        pixels, start = shown(frames), writer.frames
        fragment, first = writer.write(pixels), not start
        if first:
            height, width = pixels.shape[1:3]
            self.say({"event": "media", "type": writer.kind, "width": width, "height": height, "fps": self._fps})
            self._put(writer.header)
        times = {"start": start / self._fps, "end": writer.frames / self._fps}
        self.say({"event": "fragment", "chunk": chunk, "frames": len(pixels), **times})
        self._put(fragment)

    def ended(self, job: Job) -> None:
        self.say({"event": job.status, "video": job.record()})
        self._put(None)

    def say(self, message: dict[str, Any]) -> None:
        """Sends a JSON object, with the seconds since the search began."""
        self._put(json.dumps({"seconds": round(time.perf_counter() - self._begin, 3), **message}))

    def _put(self, message: Message) -> None:
        try:
            self._loop.call_soon_threadsafe(self.messages.put_nowait, message)
        except RuntimeError as error:
            raise Cancelled("nobody listens any more") from error


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """One request in; events and fragments out. Closing the socket ends the search.

    A stream without a length goes on until the client says ``{"end": true}``, and takes ``{"prompt": ...}`` meanwhile.
    """
    service = service_of(socket)
    await socket.accept()
    channel = Channel(asyncio.get_running_loop())
    try:
        owner = service.auth.check(socket)
        fields = await _request(socket, service)
        request = await run_in_threadpool(service.checked, fields, True, owner)
        channel.live = Live() if request.fields.endless else None
        job = await run_in_threadpool(service.queue.submit, request, channel)
    except StreamT1Error as error:
        return await _refuse(socket, error)
    except WebSocketDisconnect:
        return
    try:
        ahead = await run_in_threadpool(service.queue.store.ahead, job.id)
        await socket.send_json({"event": "queued", "ahead": ahead, "video": job.record()})
        await _until_first(_send(socket, channel), _listen(socket, channel, service, request))
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        service.queue.leave(job.id)  # at once, without awaiting: this task may have been cancelled


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


async def _send(socket: WebSocket, channel: Channel) -> None:
    while (message := await channel.messages.get()) is not None:
        await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
    await socket.close(NORMAL)


async def _listen(socket: WebSocket, channel: Channel, service: Service, request: CheckedRequest) -> None:
    """Takes what the client says while its video is made; returns when it has closed."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        try:
            channel.say(_said(message.get("text") or message.get("bytes") or "", channel.live, service, request))
        except StreamT1Error as error:
            channel.say({"event": "not_understood", **answer_to(error)[1]})


def _said(text: str | bytes, live: Live | None, service: Service, request: CheckedRequest) -> dict[str, Any]:
    """Does what one message asks for; the answer to it. Raises ``ConfigError``, ``PromptError``, ``TooLargeError``."""
    if len(text) > service.queue.limits.body:
        raise TooLargeError(f"the message is longer than {service.queue.limits.body} bytes")
    if live is None:
        raise ConfigError("this stream has a length: leave out seconds and timeline to talk to it while it is made")
    fields = parse_json(text)
    if isinstance(fields, dict) and fields.keys() == {"end"} and fields["end"] is True:
        live.end()
        return {"event": "ending"}
    scene = service.scene(fields, request)
    live.say(scene)
    return {"event": "prompt_taken", "prompt": scene.prompt}


async def _until_first(*tasks: Any) -> None:
    """Runs until one is done, and ends the others; its error is raised."""
    running = [asyncio.ensure_future(task) for task in tasks]
    done, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
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
