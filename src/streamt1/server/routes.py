"""Videos over HTTP, in the shape of the OpenAI Videos API."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import HTTPConnection

from streamt1.core.errors import ConfigError, NotReadyError, UnknownVideoError
from streamt1.report import PAGE
from streamt1.server.body import read_fields
from streamt1.server.job_store import Once
from streamt1.server.remains import THUMBNAIL
from streamt1.server.schemas import Job
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
Variant = Literal["video", "thumbnail", "spritesheet"]


def service_of(connection: HTTPConnection) -> Service:
    """The app's service."""
    return connection.app.state.service


def checked(request: Request) -> Service:
    """The app's service, for those who may use it. Raises ``ForbiddenError``."""
    service = service_of(request)
    service.auth.check(request)
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
    once = _once(request.headers.get("idempotency-key"), fields)
    job = await run_in_threadpool(lambda: service.queue.submit(service.checked(fields), once=once))
    return JSONResponse(job.record(), headers=POLL_AFTER)


@read("/v1/videos")
def listing(
    service: Checked,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """Videos, the newest first; ``after`` goes on behind the last of a page."""
    jobs = service.queue.page(limit + 1, after, order)
    data = [job.record() for job in jobs[:limit]]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": len(jobs) > limit}


@read("/v1/videos/{name}")
def retrieve(name: str, service: Checked) -> JSONResponse:
    """How far a video is."""
    return JSONResponse(service.queue.get(name).record(), headers=POLL_AFTER)


@read("/v1/videos/{name}/content")
def content(name: str, request: Request, service: Checked, variant: Variant = "video") -> Response:
    """The video, or a picture of it; with ``If-None-Match`` only if it is not what the client has."""
    job = _completed(service.queue.get(name))
    file, kind = FILES[variant]
    name = f"{job.id}{Path(file).suffix}"
    path = _there(service, job, file)
    answer = FileResponse(
        path, media_type=kind, filename=name, content_disposition_type="inline", stat_result=path.stat()
    )
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if answer.headers["etag"] in known or "*" in known:
        return Response(status_code=304, headers={"etag": answer.headers["etag"]})
    return answer


@read("/v1/videos/{name}/report")
def report(name: str, service: Checked) -> FileResponse:
    """The page that tells the search."""
    job = _completed(service.queue.get(name))
    return FileResponse(
        _there(service, job, PAGE), media_type="text/html", headers={"X-Content-Type-Options": "nosniff"}
    )


@router.delete("/v1/videos/{name}")
def delete(name: str, service: Checked) -> dict[str, Any]:
    """Forgets a video and its files; one that is being made stops within a chunk."""
    service.queue.delete(name)
    return {"id": name, "object": "video.deleted", "deleted": True}


@read("/v1/models")
def models(service: Checked) -> dict[str, Any]:
    """The presets that are served, in the shape of OpenAI's list of models, and the limits."""
    limits = service.queue.limits
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


def _once(key: str | None, fields: Any) -> Once | None:
    """Raises ``ConfigError`` for a key that is none."""
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise ConfigError(f"the Idempotency-Key has {len(key)} characters: give it 1 to {LONGEST_KEY}")
    return Once(key, sha256(repr(fields).encode("utf-8", "surrogatepass")).hexdigest())


def _model(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "streamt1", **vars(service.presets.served[name])}


def _there(service: Service, job: Job, file: str) -> Path:
    """A file of a job. Raises ``UnknownVideoError`` where somebody took it away, and ``NotReadyError``."""
    path = service.queue.folder_of(job) / file
    if path.is_file() and not (job.status == "cancelled" and job.id in service.queue.at_work()):
        return path
    if job.status != "cancelled":
        raise UnknownVideoError(f"{job.id} has no {file} any more")
    if job.id in service.queue.at_work():
        raise NotReadyError(f"{job.id} was cancelled and is being stopped; what is decided of it is here in a moment")
    if (service.queue.folder_of(job) / FILES["video"][0]).is_file():
        raise NotReadyError(f"{job.id} was cancelled: there is what was decided of its video, and no {file}")
    raise NotReadyError(f"{job.id} was cancelled when nothing of it was decided yet: it has no {file}")


def _completed(job: Job) -> Job:
    """Raises ``NotReadyError`` for a job of which nothing is to be had."""
    if job.status == "failed":
        raise NotReadyError(f"{job.id} has failed and has no content: {job.error[1] if job.error else 'unknown'}")
    if job.status not in ("completed", "cancelled"):
        raise NotReadyError(f"{job.id} is {job.status} ({job.progress} %); there is content when it is completed")
    return job
