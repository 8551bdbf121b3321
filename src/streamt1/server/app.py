"""The application: routes over a service, which opens and closes with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from streamt1.server import live, routes, stream
from streamt1.server.answers import answer_errors
from streamt1.server.service import Service

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def make_app(service: Service, hosts: Sequence[str] = ()) -> FastAPI:
    """An ASGI application.

    Args:
        service: what is served; its workers begin with the application and end with it.
        hosts: names under which it may be addressed, any by default. A server for this machine alone answers to this
            machine's names alone, or a page of another site could reach it under a name of that site.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.open()
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(title="streamt1", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    for part in (routes, stream, live):
        app.include_router(part.router)
    answer_errors(app)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[_bare(host) for host in hosts])
    return app


def _bare(host: str) -> str:
    return host.partition(":")[0] if not host.startswith("[") else host
