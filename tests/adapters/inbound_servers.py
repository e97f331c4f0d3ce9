"""The same echoing application behind every kind of server, each on a real port in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flask
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from werkzeug.serving import make_server

from meshlib import Mesh
from meshlib._context import handed_on
from meshlib.adapters.aiohttp_web import mesh_middleware
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from tests.patience import PATIENCE, wait_until

__all__ = ["SERVERS", "WEBSOCKET_SERVERS", "Serve", "serve_uvicorn"]

Serve = Callable[..., Any]


def facts(method: str, path: str, query: str, headers: dict[str, str], body: bytes, inbound: Any) -> dict[str, Any]:
    """What the application saw."""
    return {
        "method": method,
        "path": path,
        "query": query,
        "headers": headers,
        "body": body.decode(),
        "principal": inbound.principal,
        "request_principal": inbound.request_principal,
        "claims": dict(inbound.claims),
        "client_address": inbound.client_address,
        "handed_on": dict(handed_on() or {}),
    }


async def _starlette_echo(request: Request) -> Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = await request.body()
    seen = facts(request.method, request.scope["path"], request.url.query, headers, body, request.scope["mesh"])
    return JSONResponse(seen)


async def _starlette_stream(_: Request) -> Response:
    async def parts() -> Any:
        for number in range(5):
            yield f"{number} {(handed_on() or {}).get('x-request-id')}\n"

    return StreamingResponse(parts())


async def _starlette_fail(_: Request) -> Response:
    message = "the application failed"
    raise RuntimeError(message)


async def _starlette_socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(str(websocket.scope["mesh"].request_principal))
    await websocket.close()


@contextmanager
def serve_asgi(mesh: Mesh, *, tls: ssl.SSLContext | None = None, http: str = "auto", **options: Any) -> Iterator[int]:
    methods = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]
    app = Starlette(
        routes=[
            Route("/stream", _starlette_stream),
            Route("/fail", _starlette_fail),
            WebSocketRoute("/{path:path}", _starlette_socket),
            Route("/{path:path}", _starlette_echo, methods=methods),
        ]
    )
    governed = AsgiMiddleware(app, mesh, **options)
    with serve_uvicorn(governed, tls=tls, http=http) as port:
        yield port


@contextmanager
def serve_uvicorn(app: Any, *, tls: ssl.SSLContext | None = None, **settings: Any) -> Iterator[int]:
    """An ASGI application on a uvicorn in a thread of its own; gives its port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="websockets-sansio", **settings)
    config.load()
    config.ssl = tls
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@contextmanager
def serve_wsgi(mesh: Mesh, *, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    app = flask.Flask("echo")
    methods = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]

    @app.route("/stream")
    def stream() -> flask.Response:
        def parts() -> Iterator[str]:
            for number in range(5):
                yield f"{number} {(handed_on() or {}).get('x-request-id')}\n"

        return flask.Response(parts())

    @app.route("/fail")
    def fail() -> flask.Response:
        message = "the application failed"
        raise RuntimeError(message)

    @app.route("/", defaults={"path": ""}, methods=methods)
    @app.route("/<path:path>", methods=methods)
    def echo(path: str) -> flask.Response:
        request = flask.request
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = request.query_string.decode()
        seen = facts(request.method, request.path, query, headers, request.data, request.environ["meshlib"])
        return flask.jsonify(seen)

    app.url_map.merge_slashes = False
    app.wsgi_app = WsgiMiddleware(app.wsgi_app, mesh, **options)  # type: ignore[method-assign]
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app.logger.setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tls)
    server.daemon_threads = False  # type: ignore[attr-defined]  # closing waits for what a request has yet to tell
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


@contextmanager
def serve_aiohttp(mesh: Mesh, *, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[web.AppRunner, int]:
        app = web.Application(middlewares=[mesh_middleware(mesh, **options)])
        app.router.add_get("/stream", _aiohttp_stream)
        app.router.add_get("/fail", _aiohttp_fail)
        app.router.add_route("*", "/{path:.*}", _aiohttp_echo)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        return runner, runner.addresses[0][1]

    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL + 1)
    runner, port = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


async def _aiohttp_echo(request: web.Request) -> web.StreamResponse:
    if request.headers.get("upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(str(request["mesh"].request_principal))
        await socket.close()
        return socket
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = await request.read()
    seen = facts(request.method, request.path, request.rel_url.raw_query_string, headers, body, request["mesh"])
    return web.json_response(seen)


async def _aiohttp_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(5):
        await response.write(f"{number} {(handed_on() or {}).get('x-request-id')}\n".encode())
    return response


async def _aiohttp_fail(_: web.Request) -> web.StreamResponse:
    message = "the application failed"
    raise RuntimeError(message)


SERVERS: dict[str, Serve] = {"asgi": serve_asgi, "wsgi": serve_wsgi, "aiohttp": serve_aiohttp}
WEBSOCKET_SERVERS = ("asgi", "aiohttp")


def decoded(body: bytes) -> dict[str, Any]:
    """The facts in an answer."""
    seen: dict[str, Any] = json.loads(body)
    return seen
