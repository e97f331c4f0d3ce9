"""Odd header bytes before an application of aiohttp.web."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from meshlib import Mesh, Workload
from meshlib.adapters.aiohttp_web import mesh_middleware

pytestmark = pytest.mark.anyio

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/denied]}}]}]}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def tell(request: web.Request) -> web.Response:
    """Both forms in which aiohttp has a header."""
    raw = dict(request.raw_headers)[b"x-a" if b"x-a" in dict(request.raw_headers) else b"X-A"]
    return web.Response(body=raw + b" " + request.headers["x-a"].encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("value", [b"\xff\xe9", "é".encode(), b"plain"])
async def test_a_header_that_is_no_utf8_reaches_the_handler(value: bytes) -> None:
    """As without the mesh; the request id that is added once made a 500 of it."""
    mesh = Mesh.load(POLICY, workload=Workload(namespace="shop"))
    app = web.Application(middlewares=[mesh_middleware(mesh)])
    app.router.add_get("/", tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-a: " + value + b"\r\n\r\n")
    told = await reader.read()
    writer.close()
    await writer.wait_closed()
    await runner.cleanup()
    assert told.startswith(b"HTTP/1.1 200 ")
    assert told.endswith(b"\r\n\r\n" + value + b" " + value)
