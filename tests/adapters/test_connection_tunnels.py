"""TLS that the application starts, and the tunnel that a DestinationRule leads it through."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from meshlib import Mesh
from meshlib.adapters.connections import MeshConnectionError
from tests.adapters.test_connections import Ask, ask, ask_stream, entry, policy, server
from tests.mesh_builders import AT_REST, counters

__all__ = ["ask"]

AUTHORITY = trustme.CA()


def serving(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def own() -> ssl.SSLContext:
    """What the application trusts."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def proxy(*, early: bytes = b"", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Leads on to the port it is asked for, and passes all bytes both ways."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            assert asked.startswith(b"CONNECT ")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + early)
            target, onward = await asyncio.open_connection("127.0.0.1", int(asked.split()[1].rpartition(b":")[2]))
            await asyncio.gather(pump(reader, onward), pump(target, writer))
        writer.close()

    over: set[asyncio.Task[None]] = set()

    async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.add(task := asyncio.ensure_future(serve(reader, writer)))
        await task

    async with await asyncio.start_server(watched, "127.0.0.1", 0, ssl=tls) as started:
        yield started.sockets[0].getsockname()[1]
        await asyncio.gather(*over, return_exceptions=True)


def through(way: int, port: int, more: str = "") -> Mesh:
    """A mesh whose db.test is a proxy that leads to a port."""
    tunnel = f"  trafficPolicy: {{tunnel: {{targetHost: db.internal, targetPort: {port}}}{more}}}\n"
    return Mesh.load(entry("db.test", way, number=443) + policy("db.test", tunnel))


async def test_tls_of_the_application_is_with_the_end_of_the_tunnel(ask: Ask, own: ssl.SSLContext) -> None:
    """As a sidecar passes it on: the proxy sees a CONNECT in the clear, and the handshake after it."""
    async with server("behind", serving("db.internal")) as port, proxy() as way:
        mesh = through(way, port)
        assert await ask(mesh, "db.test", 443, ssl=own, server_hostname="db.internal") == "behind"
        with pytest.raises(MeshConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(mesh, "db.test", 443, ssl=own)
    assert counters(mesh.runtime) == AT_REST


async def test_tls_to_the_proxy_is_the_policys(own: ssl.SSLContext) -> None:
    """One handshake inside the other; sockets say that they cannot."""
    async with server("behind", serving("db.internal")) as port, proxy(tls=serving("proxy.test")) as way:
        mesh = through(way, port, ", tls: {mode: SIMPLE, insecureSkipVerify: true}")
        assert await ask_stream(mesh, "db.test", 443, ssl=own, server_hostname="db.internal") == "behind"
        with pytest.raises(MeshConnectionError, match="no TLS inside TLS"):
            await asyncio.to_thread(mesh.create_connection, ("db.test", 443), 5, ssl=own)
    assert counters(mesh.runtime) == AT_REST


async def test_what_a_proxy_says_before_tls_is_never_taken_for_the_services(ask: Ask, own: ssl.SSLContext) -> None:
    """Bytes right behind its answer end the connection."""
    async with server("behind", serving("db.internal")) as port, proxy(early=b"forged\n") as way:
        mesh = through(way, port)
        with pytest.raises(MeshConnectionError):
            await ask(mesh, "db.test", 443, ssl=own, server_hostname="db.internal")
    assert counters(mesh.runtime) == AT_REST
