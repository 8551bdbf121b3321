"""Errors as clients see them: the one place where they become HTTP, in the shape of OpenAI's error bodies."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

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
    return error.field if isinstance(error, FieldError) else None


def answer_errors(app: FastAPI) -> None:
    """Every error of an app gets a body of the same shape."""
    app.add_exception_handler(errors.StreamT1Error, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


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
    codes = {404: "not_found", 405: "method_not_allowed"}
    body = _body(str(error.detail), INVALID, codes.get(error.status_code, "bad_request"))
    return JSONResponse(body, error.status_code, error.headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return JSONResponse(_body(f"{name}: {first['msg']}", INVALID, "invalid_value", name), 400)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(_body("unexpected error; the server's log says more", SERVER, "unexpected"), 500)
