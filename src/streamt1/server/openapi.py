"""The OpenAPI document: routes as they are declared, requests as they are checked, and answers as they are given."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, get_args

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from streamt1.core.timeline import Switch
from streamt1.search.config import POLICIES
from streamt1.server import answers
from streamt1.server.limits import Limits
from streamt1.server.models import LoadedPresets
from streamt1.server.service import Service

JSON, HTML, TEXT = "application/json", "text/html", "text/plain"
ABOUT = """Videos by search: an API in the shape of OpenAI's Videos API. Besides these routes there is a stream: the
websocket `/v1/stream` takes the same request as JSON, and sends events and the pieces of an MP4 file."""
REASONS = {
    204: "it is over, and the client knows its last word", 304: "it is what the client has",
    400: "it cannot be run; the message says what to change",
    401: "the key is missing or wrong, or a page of another site asks", 404: "there is none",
    408: "the request came too slowly", 409: "it is over, or another request had this Idempotency-Key",
    413: "the request is too long",
    416: "the range lies beyond the end", 429: "too many wait, or this key has no more; `Retry-After` says when",
    503: "a worker is gone, or the disk is full", 507: "the disk is full, or cannot be used",
}  # fmt: skip
ALWAYS = (400, 401, 507)


@dataclass(frozen=True)
class Told:
    """Answers of one route.

    Attributes:
        model: of the answer in JSON; None for other kinds.
        kinds: media types of the answer.
        errors: statuses besides those that every route has.
        opened: whether it wants no key.
    """

    model: type[answers.Answer] | None = None
    kinds: tuple[str, ...] = (JSON,)
    errors: tuple[int, ...] = ()
    opened: bool = False


ROUTES = {
    "create": Told(answers.Video, errors=(404, 408, 409, 413, 429)),
    "listing": Told(answers.VideoList, errors=(404,)),
    "retrieve": Told(answers.Video, errors=(404,)),
    "content": Told(None, ("video/mp4", "image/webp", "image/png"), (304, 404, 416)),
    "report": Told(None, (HTML,), (404, 416)),
    "delete": Told(answers.DeletedVideo, errors=(404,)),
    "events": Told(None, ("text/event-stream",), (204, 404)),
    "cancel": Told(answers.Video, errors=(404, 409)),
    "say": Told(answers.Said, errors=(404, 408, 409, 413)),
    "models": Told(answers.ModelList),
    "model": Told(answers.Model, errors=(404,)),
    "health": Told(answers.Health, errors=(503,), opened=True),
    "metrics": Told(None, (TEXT,)),
    "openapi": Told(None, (JSON,)),
    "docs": Told(None, (HTML,)),
}
"""By the names of their functions."""
PARTS = ("content", "report")
"""Routes of which a part can be asked for."""


def document(service: Service, routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of a service; ``routes`` are those of its routers."""
    api = [one for route in routes if isinstance(route, APIRoute) and route.include_in_schema for one in _single(route)]
    told = get_openapi(title="streamt1", version=version("streamt1"), description=ABOUT, routes=api)
    models = [(model, "serialization") for model in (answers.Error, *(t.model for t in ROUTES.values() if t.model))]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # pyright: ignore
    limits = service.queue.limits
    request = request_schema(service.presets, limits)
    schemas = {**schemas["$defs"], "VideoRequest": request, "VideoForm": _form(request, limits)}
    told["components"] = {"schemas": schemas}
    if service.auth.needed:
        told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for route in api:
        path, method = told["paths"][route.path_format], route.unique_id.rpartition("_")[2]
        _describe(path[method], method, route.name, service.auth.needed)
    create = told["paths"]["/v1/videos"]["post"]
    create |= {"parameters": [ONCE], "requestBody": BODY}
    told["paths"]["/v1/videos/{video_id}/say"]["post"]["requestBody"] = _word(limits)
    create["responses"]["200"]["links"] = {
        operation["operationId"]: {"operationId": operation["operationId"], "parameters": MADE}
        for path in told["paths"] if "{video_id}" in path for operation in told["paths"][path].values()
    }  # fmt: skip
    return told


def _single(route: APIRoute) -> list[APIRoute]:
    """The same route for each of its methods."""
    methods = sorted(route.methods or ())
    single = [copy.copy(route) for _ in methods]
    for one, method in zip(single, methods):
        one.methods, one.unique_id = {method}, f"{route.name}_{method.lower()}"
    return single


def _describe(operation: dict[str, Any], method: str, name: str, locked: bool) -> None:
    """Puts in what a route answers."""
    told = ROUTES.get(name, Told())
    if told.opened:
        errors = (400, *told.errors)
    else:
        errors = (*ALWAYS, *told.errors)
        if locked:
            operation["security"] = [{"key": []}]
    operation["description"] = operation["description"].partition(" Raises")[0].replace("``", "`")
    schema = {"$ref": f"#/components/schemas/{told.model.__name__}"} if told.model else {}
    content = {kind: {"schema": schema} for kind in told.kinds}
    found: dict[str, Any] = {"200": {"description": "done", "content": content}}
    if name in PARTS:
        operation.setdefault("parameters", []).append(RANGE)
        found["206"] = {"description": "the part", "content": {**content, "multipart/byteranges": {"schema": {}}}}
    if name == "content":
        operation["parameters"].append(KNOWN)
        found["200"]["headers"] = {"X-Image-Size": {"description": "of a picture", "schema": {"type": "string"}}}
    for status in errors:
        model = "Health" if status == 503 else "Error"
        body = {JSON: {"schema": {"$ref": f"#/components/schemas/{model}"}}}
        found[str(status)] = {"description": REASONS[status], **({} if status < 400 else {"content": body})}
    if method == "head":
        found = {status: {"description": answer["description"]} for status, answer in found.items()}
    operation["responses"] = dict(sorted(found.items()))


def _header(name: str, about: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": schema}


ONCE = _header(
    "Idempotency-Key", "the same request sent again with it, within a day, is answered with the video that it became",
    type="string", minLength=1, maxLength=255,
)  # fmt: skip
RANGE = _header("Range", "the part that is wanted, as bytes=0-99", type="string")
KNOWN = _header("If-None-Match", "ETags that the client has", type="string")


MADE = {"video_id": "$response.body#/id"}
"""Where other routes find the video that was created."""
BODY = {
    "required": True,
    "content": {
        JSON: {"schema": {"$ref": "#/components/schemas/VideoRequest"}},
        "multipart/form-data": {"schema": {"$ref": "#/components/schemas/VideoForm"}},
    },
}
"""A request as JSON, and as a form, which may have a picture."""


def _whole(least: int, most: int) -> list[dict[str, Any]]:
    """A whole number, or the same as text, as forms have it."""
    text = r"^[1-9]\d{0,17}$" if least else r"^\d{1,18}$"
    return [{"type": "integer", "minimum": least, "maximum": most}, {"type": "string", "pattern": text}]


def request_schema(presets: LoadedPresets, limits: Limits) -> dict[str, Any]:
    """What a request for a video may hold, on this server."""
    served = list(presets.served.values())
    number = {"type": "number", "minimum": max(one.shortest for one in served), "maximum": limits.seconds}
    text = {"type": "string", "pattern": r"^[1-9]\d{0,8}(\.\d{1,9})?$|^0\.\d{0,8}[1-9]$"}
    prompt = {"type": "string", "minLength": 1, "maxLength": limits.prompt}
    scene = {
        "type": "object", "required": ["prompt"], "additionalProperties": False,
        "properties": {
            "prompt": prompt, "seconds": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "chunks": {"type": ["integer", "null"], "minimum": 1},
            "memory": {"enum": [*get_args(Switch), None]},
        },
    }  # fmt: skip
    names = {"enum": [*presets.served, None]}
    fields: dict[str, dict[str, Any]] = {
        "prompt": {**prompt, "description": "what the video shows; required, but for a timeline"},
        "model": {**names, "description": "a preset that is served; the first by default"},
        "seconds": {"anyOf": [number, text], "default": 4, "description": "length, of whole chunks"},
        "size": {"enum": [*dict.fromkeys(one.size for one in served), None], "description": "a model makes one size"},
        "preset": {**names, "description": "the same as `model`"},
        "policy": {"enum": [*POLICIES, None], "description": "how to search"},
        "beam_size": {"anyOf": [*_whole(1, limits.width), NULL], "description": "candidates of a beam and chunk"},
        "top_k": {"anyOf": [*_whole(1, limits.width), NULL], "description": "beams that survive a chunk"},
        "seed": {"anyOf": _whole(0, 2**63 - 1), "default": 0, "description": "the same request, the same video"},
        "lag": {"anyOf": [*_whole(0, 2**63 - 1), NULL], "description": "chunks after which a chunk is decided"},
        "budget": {
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": BUDGET}, NULL],
            "description": "most model passes, as 200, or seconds, as 60s",
        },
        "timeline": {
            "anyOf": [{"type": "array", "minItems": 1, "items": {"anyOf": [scene, prompt, PAIR]}}, NULL],
            "description": "scenes in place of a prompt",
        },
        "endless": {"type": "boolean", "default": False, "description": "goes on until it is told to end"},
        "devices": {"anyOf": [*_whole(1, presets.most), NULL], "description": "of the server's, that make it"},
        "input_reference": {"description": "a picture that the video begins with: a file of a form", "type": "null"},
    }  # fmt: skip
    either = [
        {"required": ["prompt"], "properties": {"timeline": {"type": "null"}}},
        {"required": ["timeline"], "properties": {"timeline": {"type": "array"}}, "not": {"required": ["prompt"]}},
    ]
    endless = {"required": ["endless"], "properties": {"endless": {"const": True}}}
    length = {"anyOf": [{"required": ["seconds"]}, {"required": ["timeline"]}]}
    return {
        "type": "object", "properties": fields, "additionalProperties": False, "oneOf": either,
        "if": endless, "then": {"not": length},
    }  # fmt: skip


def _word(limits: Limits) -> dict[str, Any]:
    """What can be said to a stream without an end."""
    prompt = {"type": "string", "minLength": 1, "maxLength": limits.prompt}
    scene = {"prompt": prompt, "memory": {"enum": [*get_args(Switch), None]}}
    told = {"type": "object", "additionalProperties": False}
    either = [
        {**told, "properties": scene, "required": ["prompt"]},
        {**told, "properties": {"end": {"const": True}}, "required": ["end"]},
    ]
    return {"required": True, "content": {JSON: {"schema": {"oneOf": either}}}}


def _form(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The same as a form: fields are texts or a file, and what is left empty counts as absent."""
    fields = {name: _without_null(one) for name, one in request["properties"].items() if name != "timeline"}
    fields["input_reference"] = {
        "type": "string", "format": "binary",
        "description": f"a picture that the video begins with, at most {limits.picture} bytes",
    }  # fmt: skip
    return {"type": "object", "properties": fields, "required": ["prompt"], "additionalProperties": False}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    schema = {**schema}
    for several in ("anyOf", "enum"):
        if several in schema:
            schema[several] = [one for one in schema[several] if one not in (None, NULL)]
    return schema


BUDGET = r"^[1-9]\d{0,8}s?$|^\d{1,9}\.\d{0,8}[1-9]s$"
NULL = {"type": "null"}
PAIR = {
    "type": "array", "prefixItems": [{"type": "string", "minLength": 1}, {"type": "number", "exclusiveMinimum": 0}],
    "minItems": 2, "maxItems": 2,
}  # fmt: skip
"""A prompt and its seconds."""
