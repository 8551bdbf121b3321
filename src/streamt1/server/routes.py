"""Videos over HTTP, in the shape of the OpenAI Videos API."""

from __future__ import annotations

from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import HTTPConnection

from streamt1.core.errors import NotReadyError, UnknownVideoError
from streamt1.media.thumbnails import size_of_picture
from streamt1.report import PAGE
from streamt1.server.body import PICTURE, read_fields
from streamt1.server.job_store import Once
from streamt1.server.remains import THUMBNAIL
from streamt1.server.schemas import FieldError, Job
from streamt1.server.service import Service

POLL_AFTER = {"openai-poll-after-ms": "500"}
"""The ``openai`` client asks again after so many milliseconds."""
LONGEST_KEY = 255
"""Characters of an ``Idempotency-Key``."""
FILES = {
    "video": ("video.mp4", "video/mp4"),
    "thumbnail": (THUMBNAIL, "image/webp"),
    "spritesheet": ("sheet.png", "image/png"),
}
"""By OpenAI's variant: file and media type."""
REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; script-src 'unsafe-inline';"
        " style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""A report holds all that it shows, so it may fetch nothing; its scripts act for no site, not even for this one."""
Variant = Literal["video", "thumbnail", "spritesheet"]


def service_of(connection: HTTPConnection) -> Service:
    """The app's service."""
    return connection.app.state.service


def checked(request: Request) -> Service:
    """The app's service, for those who may use it, and see the video that they name.

    Raises ``ForbiddenError`` and ``UnknownVideoError``.
    """
    service = service_of(request)
    request.state.owner = service.auth.check(request)
    if "video_id" in request.path_params:
        service.queue.check_owner(request.path_params["video_id"], request.state.owner)
    return service


Checked = Annotated[Service, Depends(checked)]
router = APIRouter()


def read(path: str, **told: Any) -> Any:
    """A route for GET, and for HEAD, which is answered alike but for the body."""
    return router.api_route(path, methods=["GET", "HEAD"], **told)


@router.post("/v1/videos")
async def create(request: Request, service: Checked) -> JSONResponse:
    """Puts a video into the queue; one request that is sent twice with its ``Idempotency-Key`` is one video."""
    limits = service.queue.limits
    fields = await read_fields(request, limits.body, limits.picture)
    pictured = isinstance(fields, dict) and isinstance(fields.get(PICTURE), bytes)
    async with request.app.state.pictures if pictured else nullcontext():  # one at a time: each may be large
        once, owner = request.headers.get("idempotency-key"), request.state.owner
        job = await run_in_threadpool(ordered, service, fields, once, owner)
    return JSONResponse(job.record(), headers=POLL_AFTER)


def ordered(service: Service, fields: Any, key: str | None, owner: str | None, stream: bool = False) -> Job:
    """A job of a request; the one that it became where it was sent before with this ``Idempotency-Key``.

    Raises what ``Service.checked``, ``Service.check_picture`` and ``JobQueue.submit`` raise.
    """
    once = _once(key, fields, owner)
    known = None if once is None else service.queue.store.known(once)
    if known is not None:
        return known
    request = service.checked(fields, stream, owner)
    service.check_picture(request)
    return service.queue.submit(request, stream, once)


@read("/v1/videos")
def listing(
    request: Request,
    service: Checked,
    after: Annotated[str | None, Query(description="the last video of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="videos of a page")] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="by creation; desc has the newest first")] = "desc",
) -> dict[str, Any]:
    """Videos, the newest first; ``after`` goes on behind the last of a page."""
    jobs = service.queue.page(limit + 1, after, order, request.state.owner)
    data = [job.record() for job in jobs[:limit]]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": len(jobs) > limit}


@read("/v1/videos/{video_id}")
def retrieve(video_id: str, service: Checked) -> JSONResponse:
    """How far a video is."""
    return JSONResponse(service.queue.get(video_id).record(), headers=POLL_AFTER)


@read("/v1/videos/{video_id}/content")
def content(video_id: str, request: Request, service: Checked, variant: Variant = "video") -> Response:
    """The video, or a picture of it; with ``If-None-Match`` only if it is not what the client has."""
    job = _completed(service.queue.get(video_id))
    file, kind = FILES[variant]
    path = _there(service, job, file)
    try:
        answer = FileResponse(
            path, media_type=kind, filename=f"{job.id}{path.suffix}", content_disposition_type="inline",
            stat_result=path.stat(), headers={} if variant == "video" else {"X-Image-Size": size_of_picture(path)},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise _gone(job, file) from error
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if answer.headers["etag"] in known or "*" in known:
        return Response(status_code=304, headers={"etag": answer.headers["etag"]})
    return answer


@read("/v1/videos/{video_id}/report")
def report(video_id: str, service: Checked) -> FileResponse:
    """The page that tells the search."""
    job = _completed(service.queue.get(video_id))
    path = _there(service, job, PAGE)
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise _gone(job, PAGE) from error
    return FileResponse(path, media_type="text/html", headers=REPORT_HEADERS, stat_result=state)


@router.delete("/v1/videos/{video_id}")
def delete(video_id: str, service: Checked) -> dict[str, Any]:
    """Forgets a video and its files; one that is being made stops within a chunk."""
    service.queue.delete(video_id)
    return {"id": video_id, "object": "video.deleted", "deleted": True}


@router.post("/v1/videos/{video_id}/remix", include_in_schema=False)
@router.post("/v1/videos/edits", include_in_schema=False)
@router.post("/v1/videos/extensions", include_in_schema=False)
@router.post("/v1/videos/characters", include_in_schema=False)
@router.get("/v1/videos/characters/{character_id}", include_in_schema=False)
def elsewhere(request: Request, service: Checked) -> None:
    """What OpenAI's API has besides. Raises ``UnknownVideoError``."""
    raise UnknownVideoError(
        f"this server has no {request.url.path[:80]}: videos are made by POST /v1/videos, with another prompt or seed"
        " for another video"
    )


@read("/v1/models")
def models(request: Request, service: Checked) -> dict[str, Any]:
    """The presets that are served, in the shape of OpenAI's list of models, and the limits."""
    limits = service.queue.limits_of(request.state.owner)
    data = [_model(service, name) for name in service.presets.served]
    bounds = {"prompt": limits.prompt, "seconds": limits.seconds, "width": limits.width, "waiting": limits.waiting}
    return {"object": "list", "data": data, "limits": bounds}


@read("/v1/models/{name}")
def model(name: str, service: Checked) -> dict[str, Any]:
    """One of them. Raises ``UnknownVideoError``."""
    if name not in service.presets.served:
        raise UnknownVideoError(f"there is no model {name[:60]!r}; this server has {', '.join(service.presets.served)}")
    return _model(service, name)


@read("/health")
def health(request: Request) -> JSONResponse:
    """For whoever watches over the server; needs no key."""
    state = service_of(request).health()
    return JSONResponse(state, 200 if state["status"] == "ok" else 503)


@read("/metrics")
def metrics(service: Checked) -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _once(key: str | None, fields: Any, owner: str | None) -> Once | None:
    """Each owner has keys of their own. Raises ``ConfigError`` for a key that is none."""
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise FieldError("Idempotency-Key", f"it has {len(key)} characters: give it 1 to {LONGEST_KEY}")
    key = key if owner is None else f"{owner}\n{key}"
    if isinstance(fields, dict):  # a picture is large
        fields = {name: sha256(one).hexdigest() if isinstance(one, bytes) else one for name, one in fields.items()}
    return Once(key, sha256(repr(fields).encode("utf-8", "surrogatepass")).hexdigest())


def _model(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "streamt1", **vars(service.presets.served[name])}


def _there(service: Service, job: Job, file: str) -> Path:
    """A file of a job. Raises ``UnknownVideoError`` where somebody took it away, and ``NotReadyError``."""
    path = service.queue.folder_of(job) / file
    if path.is_file() and not (job.status == "cancelled" and job.id in service.queue.at_work()):
        return path
    if job.status != "cancelled":
        raise _gone(job, file)
    if job.id in service.queue.at_work():
        raise NotReadyError(f"{job.id} was cancelled and is being stopped; what is decided of it is here in a moment")
    if (service.queue.folder_of(job) / FILES["video"][0]).is_file():
        raise NotReadyError(f"{job.id} was cancelled: there is what was decided of its video, and no {file}")
    raise NotReadyError(f"{job.id} was cancelled when nothing of it was decided yet: it has no {file}")


def _gone(job: Job, file: str) -> UnknownVideoError:
    return UnknownVideoError(f"{job.id} has no {file} any more")


def _completed(job: Job) -> Job:
    """Raises ``NotReadyError`` for a job of which nothing is to be had."""
    if job.status == "failed":
        raise NotReadyError(f"{job.id} has failed and has no content: {job.error[1] if job.error else 'unknown'}")
    if job.status not in ("completed", "cancelled"):
        raise NotReadyError(f"{job.id} is {job.status} ({job.progress} %); there is content when it is completed")
    return job
