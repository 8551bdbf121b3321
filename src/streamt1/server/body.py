"""Bodies of requests: JSON, or a form as the ``openai`` client sends it; never more than a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from streamt1.core.errors import ConfigError, TooLargeError, TooSlowError
from streamt1.core.json_text import JsonError
from streamt1.core.json_text import parse_json as core_json
from streamt1.server.schemas import FieldError

PATIENCE, SLOWEST = 30.0, 10_000
"""Seconds that a body may take, and besides one for each so many bytes that came."""
PICTURE = "input_reference"
"""The field of a form that may be a file; it becomes bytes."""


async def read_fields(request: Request, most: int, picture: int = 0) -> Any:
    """What a body holds: the parsed JSON, or a form's fields by name; empty fields of a form count as absent.

    Args:
        picture: bytes that a form with files may have more.

    Raises:
        TooLargeError: the body has more than ``most`` bytes.
        TooSlowError: it does not come to its end.
        ConfigError: it is neither JSON nor a form.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    body = await _bounded(request, most + picture if kind == "multipart/form-data" else most)
    if kind == "application/json" or kind.endswith("+json"):
        return parse_json(body)
    parsers = {"multipart/form-data": MultiPartParser, "application/x-www-form-urlencoded": FormParser}
    if kind not in parsers:
        raise ConfigError(f"a body of type {kind[:60]!r} cannot be read; send application/json or multipart/form-data")
    try:
        form = await parsers[kind](request.headers, _once(body)).parse()
    except (MultiPartException, KeyError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"the form cannot be read: {getattr(error, 'message', None) or 'it is damaged'}") from error
    return await _fields(form)


def parse_json(text: str | bytes) -> Any:
    """Raises ``ConfigError`` for what is not JSON."""
    try:
        return core_json(text)
    except JsonError as error:
        example = "{'prompt': ..., 'seconds': 4}"
        raise ConfigError(
            f"the body is not JSON that can be read ({error}); send an object such as {example}"
        ) from error


async def _fields(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in fields:
            raise FieldError(name[:60], f"the field {name[:60]!r} is given twice")
        if isinstance(value, UploadFile):
            fields[name] = await value.read() if name == PICTURE else value.filename or "a file"
        elif name == "timeline" and value:
            fields[name] = parse_json(value)
        elif value != "" or name == "prompt":
            fields[name] = value
    return fields


async def _bounded(request: Request, most: int) -> bytes:
    told = request.headers.get("content-length", "0")
    declared = int(told) if told.isascii() and told.isdigit() and len(told) < 20 else 0
    body, begun = bytearray(), time.monotonic()
    parts = request.stream()
    while declared <= most and len(body) <= most:
        left = begun + PATIENCE + len(body) / SLOWEST - time.monotonic()
        try:
            body += await asyncio.wait_for(anext(parts), max(0.0, left))
        except StopAsyncIteration:
            break
        except asyncio.TimeoutError as error:
            raise TooSlowError(f"the request comes too slowly: {len(body)} bytes in {PATIENCE:g} seconds") from error
    if len(body) > most or declared > most:
        raise TooLargeError(f"the request is longer than {most} bytes")
    return bytes(body)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
