"""A session of aiohttp itself beside a governed one, and a server that both lead to: what differs is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from meshlib.adapters.aiohttp import governed_session
from tests.adapters.servers import Resolver, raw_server
from tests.mesh_builders import AT_REST, counters, make_cluster, make_runtime, make_snapshot

__all__ = ["BASE", "Server", "made", "same", "sessions"]

BASE = "http://reviews:9080"
OF_THE_MESH = (b"x-request-id:", b"x-forwarded-proto:", b"x-envoy-", b"x-forwarded-for:")


class Server:
    """Keeps what arrives, and answers as the path says."""

    def __init__(self) -> None:
        self.arrived: list[tuple[list[bytes], bytes]] = []
        self.meanwhile: Callable[[], None] | None = None
        """What happens before the next answer."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head[1:])}
                if b"transfer-encoding" in fields:
                    body = await reader.readuntil(b"0\r\n\r\n")
                else:
                    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
                self.arrived.append(([line for line in head if not line.lower().startswith(OF_THE_MESH)], body))
                meanwhile, self.meanwhile = self.meanwhile, None
                if meanwhile is not None:
                    meanwhile()
                writer.write(self.answer(head[0].split()[1].decode()))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answer(self, path: str) -> bytes:
        what = path.partition("?")[0].rpartition("/")[2]
        status, more = "200 OK", "x-what: it\r\n"
        if what.isdigit():
            status = f"{what} So"
            more = f"location: {BASE}/there\r\n"
        elif what == "cookie":
            more = "set-cookie: taste=sweet; Path=/\r\nset-cookie: size=big; Path=/cakes\r\n"
        return f"HTTP/1.1 {status}\r\n{more}content-length: 0\r\n\r\n".encode()


@asynccontextmanager
async def sessions(**arguments: Any) -> AsyncIterator[tuple[Server, aiohttp.ClientSession, aiohttp.ClientSession]]:
    """A server, with a bare session and a governed one that both lead there."""
    server = Server()
    async with raw_server(server.talk) as port:
        runtime = make_runtime(make_snapshot(make_cluster(port)))
        connector = aiohttp.TCPConnector(resolver=Resolver(port))
        async with (
            aiohttp.ClientSession(connector=connector, **arguments) as bare,
            governed_session(runtime, **arguments) as governed,
        ):
            yield server, bare, governed
        assert counters(runtime) == AT_REST


async def made(session: aiohttp.ClientSession, server: Server, method: str, url: Any, **arguments: Any) -> Any:
    """What the caller gets of a call, and what arrives."""
    server.arrived.clear()
    try:
        async with session.request(method, url, **arguments) as reply:
            sent = [item for item in reply.request_info.headers.items() if not is_of_the_mesh(item[0])]
            got: Any = (
                reply.status, reply.method, reply.url, reply.real_url, dict(reply.headers), await reply.read(),
                sent, [one.status for one in reply.history], {name: one.value for name, one in reply.cookies.items()},
            )  # fmt: skip
    except (aiohttp.ClientError, TypeError, ValueError, RuntimeError) as error:
        got = type(error), str(error)
    jar = sorted((cookie.key, cookie.value) for cookie in session.cookie_jar)
    return got, jar, list(server.arrived)


def is_of_the_mesh(name: str) -> bool:
    return f"{name}:".lower().encode().startswith(OF_THE_MESH)


async def same(
    server: Server, bare: aiohttp.ClientSession, governed: aiohttp.ClientSession, *call: Any, **arguments: Any
) -> None:
    """A call is the same in both."""
    expected = await made(bare, server, *call, **arguments)
    assert await made(governed, server, *call, **arguments) == expected
