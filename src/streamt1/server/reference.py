"""The reference of the API: the OpenAPI document, and a page that shows it to people. The page fetches nothing."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, Template
from markupsafe import Markup, escape

from streamt1.core.parsing import PARSING
from streamt1.server.openapi import document
from streamt1.server.routes import Checked, service_of

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
METHODS = ["GET", "HEAD"]
router = APIRouter()


@router.api_route("/openapi.json", methods=METHODS)
def openapi(request: Request, service: Checked) -> dict[str, Any]:
    """This API as an OpenAPI document."""
    return _document(request)


@router.api_route("/docs", methods=METHODS)
def docs(request: Request, service: Checked) -> HTMLResponse:
    """The same as a page."""
    return HTMLResponse(page_of(_document(request)), headers=HEADERS)


def _document(request: Request) -> dict[str, Any]:
    """Made once: presets and limits stay as they are while a server runs."""
    state = request.app.state
    if not hasattr(state, "document"):
        state.document = document(service_of(request), state.routes)
    return state.document


def page_of(told: dict[str, Any]) -> str:
    """An OpenAPI document as HTML."""
    return _template().render(told=told, schemas=told["components"]["schemas"])


@cache
def _template() -> Template:
    pages = Environment(loader=PackageLoader("streamt1.server"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"kind": kind_of, "code": _with_code}
    with PARSING:
        return pages.get_template("docs.html")


def kind_of(schema: dict[str, Any]) -> str:
    """A schema in a few words: ``integer, 1 to 16, or null``."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return ", ".join(_shown(value) for value in schema.get("enum", [schema.get("const")]))
    for several in ("anyOf", "oneOf"):
        if several in schema and "properties" not in schema:
            return " or ".join(dict.fromkeys(kind_of(one) for one in schema[several]))
    kind = schema.get("type", "any value")
    words = [" or ".join(kind) if isinstance(kind, list) else str(kind)]
    if "items" in schema:
        words[0] += f" of ({kind_of(schema['items'])})"
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None or most is not None:
        words.append(f"at least {least:g}" if most is None else f"{least or 0:g} to {most:g}")
    if "maxLength" in schema:
        words.append(f"at most {schema['maxLength']} characters")
    if "format" in schema:
        words.append(schema["format"])
    return ", ".join(words)


def _with_code(text: str) -> Markup:
    """What stands in backticks, as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
