"""The application for FastAPI, which reads the annotations of handlers: their names stand in the module."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from meshlib import Mesh
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from tests.adapters.contract_servers.handlers import call, call_sync, fail, inside, parts

__all__ = ["fastapi"]


def fastapi(mesh: Mesh, **options: Any) -> Any:
    """FastAPI: a middleware of the application, handlers of both kinds, a background task."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        yield {"started": True}

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(AsgiMiddleware, mesh=mesh, **options)

    @app.api_route("/call", methods=["GET", "POST"])
    async def handle(request: Request) -> dict[str, object]:
        seen = inside(request.scope["mesh"])
        return {**seen, "called": await call(mesh), "started": request.state.started}

    @app.get("/thread")
    def in_thread(request: Request) -> dict[str, object]:
        return {**inside(request.scope["mesh"]), "called": call_sync(mesh)}

    @app.get("/task")
    async def with_task(tasks: BackgroundTasks) -> JSONResponse:
        tasks.add_task(call, mesh)
        return JSONResponse({})

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts(mesh))

    @app.post("/count")
    async def count(request: Request) -> dict[str, str]:
        digest = hashlib.sha256()
        async for part in request.stream():
            digest.update(part)
        return {"digest": digest.hexdigest()}

    app.add_api_route("/fail", fail)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            await websocket.send_json(await call(mesh))

    return app
