"""One application, written for each framework as its own documentation would: it calls a service and says what came.

Each has the same routes:

* ``/call`` (GET, POST): calls the service from the handler; ``/thread`` from a synchronous handler, or a thread that
  the framework starts; ``/task`` from what the handler starts beside itself;
* ``/stream`` calls for each part of its answer; ``/count`` reads a body part by part; ``/fail`` raises;
* a websocket at ``/socket`` that calls for each message.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from meshlib import Mesh
from meshlib.adapters.aiohttp_web import mesh_middleware
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from tests.adapters.contract_servers.fastapi_application import fastapi
from tests.adapters.contract_servers.handlers import call, call_sync, fail, inside, parts, parts_sync
from tests.adapters.contract_servers.litestar_application import litestar

__all__ = ["ASGI", "WSGI", "aiohttp_web"]

# -- ASGI -------------------------------------------------------------------------------------------


def starlette(mesh: Mesh, **options: Any) -> Any:  # noqa: C901 - many small handlers
    """Starlette: the middleware in the constructor, ``run_in_threadpool``, a task beside the handler."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        yield {"started": True}

    async def handle(request: Request) -> Response:
        seen = inside(request.scope["mesh"])
        return JSONResponse({**seen, "called": await call(mesh), "started": request.state.started})

    async def in_thread(request: Request) -> Response:
        return JSONResponse({**inside(request.scope["mesh"]), "called": await run_in_threadpool(call_sync, mesh)})

    running = set()

    async def with_task(_: Request) -> Response:
        task = asyncio.ensure_future(call(mesh))
        running.add(task)
        return JSONResponse({})

    async def stream(_: Request) -> Response:
        return StreamingResponse(parts(mesh))

    async def count(request: Request) -> Response:
        digest = hashlib.sha256()
        async for part in request.stream():
            digest.update(part)
        return JSONResponse({"digest": digest.hexdigest()})

    async def failing(_: Request) -> Response:
        found: Response = fail()
        return found

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            await websocket.send_json(await call(mesh))

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(AsgiMiddleware, mesh=mesh, **options)],
        routes=[
            Route("/call", handle, methods=["GET", "POST"]),
            Route("/thread", in_thread),
            Route("/task", with_task),
            Route("/stream", stream),
            Route("/count", count, methods=["POST"]),
            Route("/fail", failing),
            WebSocketRoute("/socket", socket),
        ],
    )


def quart(mesh: Mesh, **options: Any) -> Any:
    """Quart: ``app.asgi_app``, handlers of both kinds."""
    from quart import Quart, request, websocket

    app = Quart("quart")
    app.asgi_app = AsgiMiddleware(app.asgi_app, mesh, **options)  # type: ignore[method-assign]
    app.config["started"] = False

    @app.before_serving
    async def start() -> None:
        app.config["started"] = True

    @app.route("/call", methods=["GET", "POST"])
    async def handle() -> dict[str, Any]:
        seen = inside(request.scope["mesh"])  # type: ignore[typeddict-item]
        return {**seen, "called": await call(mesh), "started": app.config["started"]}

    @app.route("/thread")
    def in_thread() -> dict[str, Any]:
        return {**inside(request.scope["mesh"]), "called": call_sync(mesh)}  # type: ignore[typeddict-item]

    @app.route("/task")
    async def with_task() -> dict[str, Any]:
        app.add_background_task(call, mesh)
        return {}

    @app.route("/stream")
    async def stream() -> Any:
        return parts(mesh)

    @app.route("/count", methods=["POST"])
    async def count() -> dict[str, Any]:
        digest = hashlib.sha256()
        async for part in request.body:
            digest.update(part)
        return {"digest": digest.hexdigest()}

    app.add_url_rule("/fail", view_func=fail)

    @app.websocket("/socket")
    async def socket() -> None:
        while True:
            await websocket.receive()
            await websocket.send_json(await call(mesh))

    return app


# -- WSGI -------------------------------------------------------------------------------------------


def flask(mesh: Mesh, **options: Any) -> Any:
    """Flask: ``app.wsgi_app``; an asynchronous view, which Flask runs in a thread of its own."""
    import flask as package

    app = package.Flask("flask")

    @app.route("/call", methods=["GET", "POST"])
    def handle() -> dict[str, Any]:
        return {**inside(package.request.environ["meshlib"]), "called": call_sync(mesh), "started": True}

    @app.route("/thread")
    async def in_thread() -> dict[str, Any]:
        return {**inside(package.request.environ["meshlib"]), "called": await call(mesh)}

    @app.route("/task")
    def with_task() -> dict[str, Any]:
        with ThreadPoolExecutor(1) as pool:  # threads inherit nothing by themselves: the context is handed over
            pool.submit(contextvars.copy_context().run, call_sync, mesh).result()
        return {}

    @app.route("/stream")
    def stream() -> package.Response:
        return package.Response(parts_sync(mesh))

    @app.route("/count", methods=["POST"])
    def count() -> dict[str, Any]:
        digest = hashlib.sha256()
        while part := package.request.stream.read(65536):
            digest.update(part)
        return {"digest": digest.hexdigest()}

    app.add_url_rule("/fail", view_func=fail)
    app.wsgi_app = WsgiMiddleware(app.wsgi_app, mesh, **options)  # type: ignore[method-assign]
    app.logger.disabled = True
    return app


# -- Django, both ways ------------------------------------------------------------------------------


def _django_settings() -> None:
    from django.conf import settings

    if not settings.configured:
        settings.configure(ROOT_URLCONF="tests.adapters.contract_servers.django_urls", ALLOWED_HOSTS=["*"], LOGGING={})


def django_asgi(mesh: Mesh, **options: Any) -> Any:
    """Django under ASGI."""
    _django_settings()
    from django.core.asgi import get_asgi_application

    from tests.adapters.contract_servers import django_urls

    django_urls.meshes.append(mesh)
    return AsgiMiddleware(get_asgi_application(), mesh, **options)  # type: ignore[arg-type]


def django_wsgi(mesh: Mesh, **options: Any) -> Any:
    """Django under WSGI."""
    _django_settings()
    from django.core.wsgi import get_wsgi_application

    from tests.adapters.contract_servers import django_urls

    django_urls.meshes.append(mesh)
    return WsgiMiddleware(get_wsgi_application(), mesh, **options)


# -- aiohttp.web ------------------------------------------------------------------------------------


def aiohttp_web(mesh: Mesh, **options: Any) -> Any:  # noqa: C901 - many small handlers
    """aiohttp.web: the first middleware of the application."""
    from aiohttp import web

    app = web.Application(middlewares=[mesh_middleware(mesh, **options)])
    running = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response({**inside(request["mesh"]), "called": await call(mesh), "started": True})

    async def in_thread(request: web.Request) -> web.StreamResponse:
        return web.json_response({**inside(request["mesh"]), "called": await asyncio.to_thread(call_sync, mesh)})

    async def with_task(_: web.Request) -> web.StreamResponse:
        running.add(asyncio.ensure_future(call(mesh)))
        return web.json_response({})

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in parts(mesh):
            await response.write(part)
        return response

    async def count(request: web.Request) -> web.StreamResponse:
        digest = hashlib.sha256()
        async for part in request.content.iter_any():
            digest.update(part)
        return web.json_response({"digest": digest.hexdigest()})

    async def failing(_: web.Request) -> web.StreamResponse:
        found: web.StreamResponse = fail()
        return found

    async def socket(request: web.Request) -> web.StreamResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        async for _ in connection:
            await connection.send_json(await call(mesh))
        return connection

    for path, handler in {
        "/call": handle,
        "/thread": in_thread,
        "/task": with_task,
        "/stream": stream,
        "/count": count,
        "/fail": failing,
        "/socket": socket,
    }.items():
        app.router.add_route("*", path, handler)
    return app


Application = Callable[..., Any]
ASGI: dict[str, Application] = {
    "fastapi": fastapi,
    "starlette": starlette,
    "litestar": litestar,
    "quart": quart,
    "django-asgi": django_asgi,
}
WSGI: dict[str, Application] = {"flask": flask, "django-wsgi": django_wsgi}
