"""The live page: plain files out of the package."""

from __future__ import annotations

import re
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from streamt1.core.errors import ForbiddenError, UnknownVideoError
from streamt1.server.auth import COOKIE
from streamt1.server.body import read_fields
from streamt1.server.routes import service_of

FILES = resources.files("streamt1.server") / "static"
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
router = APIRouter()


@router.get("/", include_in_schema=False)
def index() -> Response:
    """The page."""
    return file("index.html")


@router.get("/page/{name}", include_in_schema=False)
def file(name: str) -> Response:
    """One of its files."""
    if not re.fullmatch(r"[a-z]+\.(html|css|js)", name) or not (FILES / name).is_file():
        raise UnknownVideoError(f"there is no file {name[:60]!r}")
    kind = KINDS[name.rpartition(".")[2]]
    return Response((FILES / name).read_bytes(), media_type=f"{kind}; charset=utf-8", headers=HEADERS)


@router.get("/page/login/state", include_in_schema=False)
def state(request: Request) -> dict[str, bool]:
    """Whether the page must ask for the key."""
    auth = service_of(request).auth
    try:
        auth.check(request)
    except ForbiddenError:
        return {"key_needed": True}
    return {"key_needed": False}


@router.post("/page/login", include_in_schema=False)
async def login(request: Request) -> Response:
    """The key becomes a cookie, so that videos and reports can be linked to.

    Raises ``ForbiddenError``, and ``ThrottledError`` after too many wrong ones.
    """
    auth = service_of(request).auth
    fields = await read_fields(request, 4096)
    cookie = auth.log_in(request, str(fields.get("key", "")) if isinstance(fields, dict) else "")
    answer = JSONResponse({"key_needed": False})
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure)
    return answer


@router.get("/favicon.ico", include_in_schema=False)
def icon() -> Response:
    """There is none."""
    return Response(status_code=204)
