"""Trailers behind a chunked body: uvicorn with httptools adds them to the headers of a request that is being served."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib.adapters.asgi import MeshMiddleware
from tests.adapters.gateway_servers import serve_app

pytestmark = pytest.mark.anyio

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: shop}
spec: {action: DENY, rules: [{when: [{key: 'request.headers[x-role]', values: [admin]}]}]}
"""
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\nx-request-id: r\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"
TRAILERS = b"0\r\nx-role: admin\r\nx-forwarded-client-cert: URI=spiffe://cluster.local/ns/a/sa/b\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def late(scope: Any, receive: Any, send: Any) -> None:
    """Begins to answer before the body has ended, and tells the headers that stand there at the end."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    while message.get("more_body"):
        message = await receive()
    names = b" ".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.body", "body": names + b" end"})


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_a_trailer_does_not_become_a_header(http: str) -> None:
    """Policies were asked before it came. Neither of a request that is decided about nor of one that is remembered."""
    mesh = Mesh.load(POLICY, workload=Workload(namespace="shop"))
    async with serve_app(MeshMiddleware(late, mesh), http=http) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(HEAD)
            await reader.readuntil(b"begun")
            writer.write(TRAILERS)
            told = await reader.readuntil(b" end")
            assert b"transfer-encoding end" in told
            assert b"x-role" not in told
            await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
