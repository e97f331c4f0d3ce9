"""The shop's pages, a FastAPI application. It asks `ratings` for stars, and tells `ratings` the names of products."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI, HTTPException, Request

from meshlib import Mesh
from meshlib.adapters.asgi import MeshMiddleware

NAMES = {"1": "teapot", "2": "kettle"}


def make_app(mesh: Mesh) -> FastAPI:
    """The application, governed by ``mesh`` in both directions."""
    sessions: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mesh.aiohttp() as session:
            sessions.append(session)
            yield

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(MeshMiddleware, mesh=mesh)

    @app.get("/products/{product}")
    async def page(product: str, request: Request) -> dict[str, Any]:
        beta = {"x-beta": request.headers.get("x-beta", "no")}
        async with sessions[0].get(f"http://ratings/ratings/{product}", headers=beta) as response:
            if response.status != 200:
                raise HTTPException(502, await response.text())
            rating = await response.json()
        return {"request": request.scope["mesh"].request_id, **rating}

    @app.get("/names/{product}")
    async def name(product: str, request: Request) -> dict[str, str]:
        return {"name": NAMES[product], "request": request.scope["mesh"].request_id}

    return app
