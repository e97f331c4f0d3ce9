"""Services that answer oddly, behind a gateway; and bodies that no service could read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meshlib import Mesh
from meshlib.adapters.gateway import MeshGateway
from tests.adapters.gateway_servers import GATEWAY, INGRESS, serve_app, service

pytestmark = pytest.mark.anyio

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{route: [{destination: {host: a.test}}]}]
---
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def before(answer: bytes, http: str) -> AsyncIterator[int]:
    """The port of a gateway to a service that gives one answer, and breaks off."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        mesh = Mesh.load(GATEWAY + RULES + service("a", server.sockets[0].getsockname()[1]), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), http=http) as port:
            yield port


async def ask(port: int, *fields: str, times: int = 1, body: bytes = b"") -> bytes:
    """All that comes on one connection until the last request's answer is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["GET /?access_token=secret HTTP/1.1", "host: a.test", *fields]
    for left in range(times, 0, -1):
        close = [] if left > 1 else ["connection: close"]
        writer.write("\r\n".join([*lines, *close, "", ""]).encode() + body)
    told = await reader.read()
    writer.close()
    await writer.wait_closed()
    return told


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("status", ["101 Switching Protocols", "999 Odd"])
async def test_what_is_no_answer_is_a_bad_gateway(status: str, http: str) -> None:
    """An upgrade that nobody asked for would have the client read whatever follows as another protocol."""
    answer = f"HTTP/1.1 {status}\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".encode()
    async with before(answer, http) as port:
        told = await ask(port)
    assert told.startswith(b"HTTP/1.1 502 ")
    assert told.endswith(b"reset reason: protocol error")


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_an_answer_without_a_body_leaves_the_connection_open(http: str) -> None:
    """A 304 may say how long the body would have been; uvicorn once waited for it."""
    async with before(b"HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 50\r\n\r\n", http) as port:
        told = await ask(port, times=2)
    assert told.count(b"HTTP/1.1 304 ") == 2


async def test_a_body_in_a_coding_that_is_taken_off_is_not_passed_on() -> None:
    """The service would get gzip for what it is. Envoy answers 501 as well."""
    async with before(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "httptools") as port:
        assert (await ask(port, "transfer-encoding: gzip, chunked", body=b"0\r\n\r\n")).startswith(b"HTTP/1.1 501 ")
        assert (await ask(port, "transfer-encoding: Chunked", body=b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_query_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A token may stand there."""
    with caplog.at_level(logging.DEBUG):
        async with before(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\ncut", "httptools") as port:
            assert (await ask(port)).endswith(b"cut")
    assert "broke off" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_http_1_0_is_told_to_upgrade(http: str) -> None:
    """As by Istio; an answer in chunks would be no answer to it."""
    async with before(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", http) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\nhost: a.test\r\n\r\n")
        told = await reader.read()
        writer.close()
    assert told.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert told.endswith(b"\r\n\r\nUpgrade Required")
