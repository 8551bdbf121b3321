"""Errors as clients see them: the one place where they become HTTP, in the shape of OpenAI's error bodies."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamt1.core import errors
from streamt1.server.schemas import FieldError

log = logging.getLogger("streamt1.server")
INVALID, SERVER, LIMITED = "invalid_request_error", "server_error", "rate_limit_error"
STATUS: tuple[tuple[type[errors.StreamT1Error], int, str, str], ...] = (
    (errors.ForbiddenError, 401, INVALID, "invalid_api_key"),
    (errors.UnknownVideoError, 404, INVALID, "not_found"),
    (errors.ConflictError, 409, INVALID, "conflict"),
    (errors.NotReadyError, 400, INVALID, "not_ready"),
    (errors.TooLargeError, 413, INVALID, "too_large"),
    (errors.TooSlowError, 408, INVALID, "too_slow"),
    (errors.QuotaError, 429, LIMITED, "quota"),
    (errors.ThrottledError, 429, LIMITED, "too_many_attempts"),
    (errors.BusyError, 429, LIMITED, "queue_full"),
    (errors.UnknownNameError, 400, INVALID, "unknown_name"),
    (errors.PromptError, 400, INVALID, "invalid_prompt"),
    (errors.ConfigError, 400, INVALID, "invalid_value"),
    (errors.OutputError, 507, SERVER, "storage"),
    (errors.StreamT1Error, 500, SERVER, "failed"),
)
"""The first that fits: the HTTP status, OpenAI's type, and a code of ours."""


def answer_to(error: errors.StreamT1Error) -> tuple[int, dict[str, Any]]:
    """The HTTP status of an error, and the body that explains it."""
    status, kind, code = next((s, k, c) for cls, s, k, c in STATUS if isinstance(error, cls))
    return status, _body(str(error), kind, code, _param(error))


def _param(error: errors.StreamT1Error) -> str | None:
    """The field of the request that an error is about; None where it is about none, or several."""
    if isinstance(error, errors.PromptError):
        return "prompt"
    if isinstance(error, errors.UnknownNameError):
        return error.name if error.kind == "field" else error.kind
    if isinstance(error, errors.NotReadyError):
        return "video_id"
    return error.field if isinstance(error, FieldError) else None


def answer_errors(app: FastAPI) -> None:
    """Every error of an app gets a body of the same shape."""
    app.add_exception_handler(errors.StreamT1Error, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


CODES = {404: "not_found", 405: "method_not_allowed", 416: "range_not_satisfiable"}
"""Of errors that the framework finds; ``bad_request`` for others."""


class InShape:
    """Middleware: the framework's errors in plain text, such as that of a range that is none, get our shape, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: Message | None = None
        text = b""

        async def shaped(message: Message) -> None:
            nonlocal held, text
            if message["type"] == "http.response.start" and _is_plain(message):
                held = message
                return
            if held is None:
                return await send(message)
            text += message.get("body", b"")[:1000]
            if message.get("more_body"):
                return None
            status = held["status"]
            said = text.decode("utf-8", "replace") or "the range lies beyond the end of the file"
            param = "Host" if "host" in said else "Range" if "ange" in said else None
            answer = JSONResponse(_body(said, INVALID, CODES.get(status, "bad_request"), param), status)
            headers = MutableHeaders(raw=list(held.get("headers", [])))
            for name in ("content-type", "content-length"):
                headers[name] = answer.headers[name]
            await send({**held, "headers": headers.raw})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

        await self._app(scope, receive, shaped if scope["type"] == "http" else send)


def _is_plain(start: Message) -> bool:
    kind = Headers(raw=start.get("headers", [])).get("content-type", "")
    return start["status"] >= 400 and kind.startswith("text/plain")


def _body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    sendable = message.encode("utf-8", "replace").decode()
    return {"error": {"message": sendable, "type": kind, "param": param, "code": code}}


def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.StreamT1Error)
    status, body = answer_to(error)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, errors.BusyError) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = _body(str(error.detail), INVALID, CODES.get(error.status_code, "bad_request"))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return JSONResponse(body, error.status_code, headers)


def _methods(request: Request) -> set[str]:
    """Those that a path has, by all routes together."""
    fitting = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in fitting for method in getattr(route, "methods", None) or ()}


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return JSONResponse(_body(f"{name}: {first['msg']}", INVALID, "invalid_value", name), 400)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(_body("unexpected error; the server's log says more", SERVER, "unexpected"), 500)
