"""The application for Litestar, which reads the annotations of handlers: their names stand in the module."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, WebSocket, get, post, route
from litestar import websocket as websocket_route
from litestar.response import Stream

from meshlib import Mesh
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from tests.adapters.contract_servers.handlers import call, call_sync, fail, inside, parts

__all__ = ["litestar"]


def litestar(mesh: Mesh, **options: Any) -> Any:  # noqa: C901 - many small handlers
    """Litestar: the application wrapped, so that nothing runs before."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.started = True
        yield

    async def handle(request: Request[Any, Any, Any]) -> dict[str, Any]:
        seen = inside(request.scope["mesh"])  # type: ignore[typeddict-item]
        return {**seen, "called": await call(mesh), "started": request.app.state.started}

    def in_thread(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return {**inside(request.scope["mesh"]), "called": call_sync(mesh)}  # type: ignore[typeddict-item]

    running = set()

    async def with_task() -> dict[str, Any]:
        running.add(asyncio.ensure_future(call(mesh)))
        return {}

    async def stream() -> Stream:
        return Stream(parts(mesh))

    async def count(request: Request[Any, Any, Any]) -> dict[str, Any]:
        digest = hashlib.sha256()
        async for part in request.stream():
            digest.update(part)
        return {"digest": digest.hexdigest()}

    async def failing() -> None:
        fail()

    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        async for _ in socket.iter_data():
            await socket.send_json(await call(mesh))

    handlers = [
        route("/call", http_method=["GET", "POST"], status_code=200)(handle),
        get("/thread", sync_to_thread=True)(in_thread),
        get("/task")(with_task),
        get("/stream")(stream),
        post("/count")(count),
        get("/fail")(failing),
        websocket_route("/socket")(socket),
    ]
    return AsgiMiddleware(Litestar(handlers, lifespan=[lifespan], logging_config=None), mesh, **options)
