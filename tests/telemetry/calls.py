"""One call or served request through the runtime, without any client library."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from meshlib import Mesh
from meshlib._drivers import drive
from meshlib._engine.commands import Reply
from meshlib._engine.exchange import Exchange
from meshlib._http import Headers, RequestHead, Response
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.testing import SyncScriptedTransport

REVIEWS = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, labels: {app: reviews, version: v1, service.istio.io/workload-name: reviews-v1}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews.shop.svc.cluster.local]
  http:
  - name: default-route
    route: [{destination: {host: reviews.shop.svc.cluster.local}}]
    retries: {attempts: 2, retryOn: "5xx"}
"""
URL = "reviews.shop.svc.cluster.local"


def call(
    mesh: Mesh,
    *script: Any,
    host: str = URL,
    path: str = "/",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: int = -1,
) -> tuple[Exchange, Reply]:
    """A call, read to the end of its response of ``body`` bytes."""
    fields = Headers(headers or {})
    head = RequestHead(method, "http", host, path, fields, port=80)
    exchange = mesh.runtime.begin(head, fields, lambda: True)
    reply = drive(exchange.steps(), SyncScriptedTransport(*script))
    if isinstance(reply, Response):
        exchange.finish(body)
    return exchange, reply


Message = MutableMapping[str, Any]


def serve(
    mesh: Mesh,
    *,
    status: int = 200,
    body: bytes = b"hello",
    headers: tuple[tuple[str, str], ...] = (),
    path: str = "/",
    query: str = "",
    peer: bytes | None = None,
    times: int = 1,
    inside: Callable[[], Awaitable[None]] | None = None,
) -> list[Message]:
    """Requests to an application behind the middleware of ASGI; what the server was given to send."""
    sent: list[Message] = []

    async def app(scope: Message, receive: Any, send: Any) -> None:
        if inside is not None:
            await inside()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        await send({"type": "http.response.body", "body": body[2:]})

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": _raw(path),
        "query_string": query.encode(),
        "headers": [(b"host", b"reviews"), *((name.encode(), _raw(value)) for name, value in headers)],
        "server": ("10.0.0.9", 8080),
        "client": ("10.0.0.8", 40000),
        "extensions": {} if peer is None else {"tls": {"client_cert_chain": [peer]}},
    }
    middleware = MeshMiddleware(app, mesh)
    for _ in range(times):
        asyncio.run(middleware(dict(scope), receive, send))
    return sent


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
