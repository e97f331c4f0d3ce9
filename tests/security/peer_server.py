"""A server in a process of its own that answers with the identity of its peer: KIND PORT CERTIFICATES."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from pathlib import Path
from typing import Any

from meshlib import Mesh, Workload
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from meshlib.security import server_context

MESH = Mesh.load("kind: List\napiVersion: v1\nitems: []\n", workload=Workload(namespace="shop"))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The identity over HTTP, or as the first message of a websocket."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    who = str(scope["mesh"].principal)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": who})
        await send({"type": "websocket.close"})
        return
    length = str(len(who)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": who.encode()})


def echo_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The identity."""
    who = str(environ["meshlib"].principal).encode()
    start_response("200 OK", [("content-length", str(len(who)))])
    return [who]


ASGI_APP = AsgiMiddleware(echo, MESH)
WSGI_APP = WsgiMiddleware(echo_wsgi, MESH)


def context(directory: Path) -> ssl.SSLContext:
    """Clients may show a certificate."""
    return server_context(directory, is_peer_required=False)


def uvicorn(port: int, directory: Path, *, http: str, ws: str) -> None:
    """With one of its parsers of each kind."""
    import uvicorn as server

    config = server.Config(ASGI_APP, host="127.0.0.1", port=port, http=http, ws=ws, log_level="critical")
    config.load()
    config.ssl = context(directory)
    server.Server(config).run()


def hypercorn(port: int, directory: Path) -> None:
    """On asyncio, with HTTP/1.1 and HTTP/2."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    class Tls(Config):
        def create_ssl_context(self) -> ssl.SSLContext:
            made = context(directory)
            made.set_alpn_protocols(["h2", "http/1.1"])
            return made

    config = Tls()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = str(directory / "cert-chain.pem"), str(directory / "key.pem")
    asyncio.run(serve(ASGI_APP, config))  # type: ignore[arg-type]


def gunicorn(port: int, directory: Path, *, worker: str) -> None:
    """With one of its workers."""
    from gunicorn.app.base import BaseApplication

    is_asgi = "uvicorn" in worker
    settings = {
        "bind": f"127.0.0.1:{port}",
        "worker_class": worker,
        "threads": 2 if worker == "gthread" else 1,
        "certfile": str(directory / "cert-chain.pem"),
        "keyfile": str(directory / "key.pem"),
        "ca_certs": str(directory / "root-cert.pem"),
        "cert_reqs": ssl.CERT_OPTIONAL,
        "loglevel": "critical",
        "graceful_timeout": 1,
    }
    if not is_asgi:
        settings["ssl_context"] = lambda _config, _default: context(directory)

    class Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
        def load_config(self) -> None:
            for name, value in settings.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return ASGI_APP if is_asgi else WSGI_APP

    Application().run()


def werkzeug(port: int, directory: Path) -> None:
    """The development server."""
    from werkzeug.serving import run_simple

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    run_simple("127.0.0.1", port, WSGI_APP, ssl_context=context(directory))


def aiohttp_web(port: int, directory: Path) -> None:
    """A handler of aiohttp.web, which also takes websockets."""
    from aiohttp import web

    from meshlib.adapters.aiohttp_web import mesh_middleware

    async def handler(request: web.Request) -> web.StreamResponse:
        who = str(request["mesh"].principal)
        if request.headers.get("upgrade"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str(who)
            await socket.close()
            return socket
        return web.Response(text=who)

    app = web.Application(middlewares=[mesh_middleware(MESH)])
    app.router.add_get("/", handler)
    web.run_app(app, host="127.0.0.1", port=port, ssl_context=context(directory), print=None)


KINDS: dict[str, Any] = {
    "uvicorn-h11": lambda port, directory: uvicorn(port, directory, http="h11", ws="wsproto"),
    "uvicorn-httptools": lambda port, directory: uvicorn(port, directory, http="httptools", ws="websockets-sansio"),
    "hypercorn": hypercorn,
    "gunicorn-sync": lambda port, directory: gunicorn(port, directory, worker="sync"),
    "gunicorn-gthread": lambda port, directory: gunicorn(port, directory, worker="gthread"),
    "gunicorn-uvicorn": lambda port, directory: gunicorn(port, directory, worker="uvicorn.workers.UvicornWorker"),
    "werkzeug": werkzeug,
    "aiohttp.web": aiohttp_web,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
