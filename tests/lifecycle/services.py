"""The services that the processes serve: the mesh of ``$MESH``, loaded and used before any fork."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from meshlib import Mesh
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware

mesh = Mesh.load([os.environ["MESH"]])
mesh.watch(interval=0.1)


async def call() -> dict[str, object]:
    """A governed call; what the service saw of it."""
    async with mesh.aiohttp() as session, session.get("http://backend.test/") as response:
        return {"status": response.status, "pid": os.getpid(), "seen": await response.json()}


if os.environ.get("USED_BEFORE"):
    asyncio.run(call())

web = flask.Flask("web")


@web.get("/ready")
def ready() -> dict[str, object]:
    """Serving."""
    return {"ready": True, "pid": os.getpid()}


@web.get("/call")
def call_sync() -> dict[str, object]:
    """A call in an event loop of its own, as synchronous code does it."""
    return asyncio.run(call())


web.wsgi_app = WsgiMiddleware(web.wsgi_app, mesh)  # type: ignore[method-assign]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """One session for all requests of the process."""
    async with mesh.aiohttp() as session:
        app.state.session = session
        yield


async def asgi_ready(_: Request) -> JSONResponse:
    """Serving."""
    return JSONResponse({"ready": True, "pid": os.getpid()})


async def asgi_call(request: Request) -> JSONResponse:
    """A call through the session of the process."""
    async with request.app.state.session.get("http://backend.test/") as response:
        return JSONResponse({"status": response.status, "pid": os.getpid(), "seen": await response.json()})


asgi = AsgiMiddleware(
    Starlette(routes=[Route("/ready", asgi_ready), Route("/call", asgi_call)], lifespan=lifespan), mesh
)
