"""Sessions over plain HTTP: what happens to a video as server-sent events, its end by request, and words to it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from streamt1.core.errors import ConfigError, ConflictError, ForbiddenError, StreamT1Error
from streamt1.core.json_text import parse_json as stored
from streamt1.server.body import read_fields
from streamt1.server.errors import answer_to
from streamt1.server.routes import Checked
from streamt1.server.schemas import Job
from streamt1.server.service import Service
from streamt1.server.sessions import Session, Viewer

QUIET, AGAIN = 15.0, 2000
"""Seconds without an event after which the connection is shown to be alive; milliseconds to the client's next try."""
OVER = "over"
"""The ``id`` of the last word."""
router = APIRouter()


@router.get("/v1/videos/{video_id}/events")
async def events(
    video_id: str, request: Request, service: Checked, last: Annotated[str | None, Header(alias="Last-Event-ID")] = None
) -> Response:
    """All that happens to a video, from its start, or after the event whose id a client names; then the last word."""
    session = await run_in_threadpool(service.queue.session, video_id)
    if last == OVER and session.last is not None:
        return Response(status_code=204)  # a browser would ask for ever
    return StreamingResponse(
        _told(request, service, session, video_id, last), media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )  # fmt: skip


@router.post("/v1/videos/{video_id}/cancel")
def cancel(video_id: str, service: Checked) -> dict[str, Any]:
    """A video is not to be made any further; what of it is decided stays. Within a chunk, nothing works on it."""
    return service.queue.cancel(video_id).record()


@router.post("/v1/videos/{video_id}/say")
async def say(video_id: str, request: Request, service: Checked) -> dict[str, Any]:
    """A word to a stream without an end: ``{"prompt": ..., "memory": ...}``, or ``{"end": true}``."""
    fields = await read_fields(request, service.queue.limits.body)
    return await run_in_threadpool(said, fields, service, video_id)


def said(fields: Any, service: Service, name: str) -> dict[str, Any]:
    """Does what one word asks for; the answer to it.

    Raises:
        UnknownVideoError: there is no such video.
        ConflictError: it is over.
        ConfigError, PromptError: the word cannot be used.
    """
    job, session = service.queue.get(name), service.queue.session(name)
    if session.live is None:
        raise ConfigError("this video has a length: leave out seconds and timeline to talk to it while it is made")
    if session.last is not None:
        raise ConflictError(f"{name} is {session.last.status} already: nobody listens to it any more")
    if isinstance(fields, dict) and fields.keys() == {"end"} and fields["end"] is True:
        session.live.end()
        return {"event": "ending"}
    scene = service.scene(fields, job.request)
    session.live.say(scene)
    return {"event": "prompt_taken", "prompt": scene.prompt}


def begins(service: Service, job: Job, kind: str) -> dict[str, Any]:
    """The first message to a viewer: the job, and how many are made before it. Raises ``UnknownVideoError``."""
    ahead = service.queue.store.ahead(job.id) if job.status == "queued" else 0
    return {"event": kind, "ahead": ahead, "video": job.record()}


def last_word(service: Service, session: Session) -> dict[str, Any]:
    """How a session ended for a viewer."""
    if session.last is None:
        return {"event": "interrupted", "message": "the server is being stopped: come again when it is back"}
    try:
        job = session.last if session.dropped else service.queue.get(session.last.id)
    except StreamT1Error:
        job = session.last
    return {"event": job.status, "video": job.record()}


async def _told(
    request: Request, service: Service, session: Session, name: str, after: str | None
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    checked = loop.time()
    job = await run_in_threadpool(service.queue.get, name)
    with Viewer(session, after) as viewer:
        yield f"retry: {AGAIN}\n" + _event(await run_in_threadpool(begins, service, job, "attached"))
        async for record in viewer.records(QUIET):
            if record is None or loop.time() >= checked + QUIET:
                checked = loop.time()
                try:
                    service.auth.check_again(request, request.state.owner)
                except ForbiddenError as error:
                    yield _event({"event": "refused", **answer_to(error)[1]})
                    return
            if record is None:
                yield ": here\n\n"
                continue
            message = stored(record.text)
            if record.piece:
                message["mp4"] = base64.b64encode(record.piece).decode()
            yield _event(message, record.id)
        word = await run_in_threadpool(last_word, service, session)
        yield _event(word, OVER if session.last is not None else None)


def _event(message: dict[str, Any], place: str | None = None) -> str:
    told = "" if place is None else f"id: {place}\n"
    return f"{told}event: {message['event']}\ndata: {json.dumps(message)}\n\n"
