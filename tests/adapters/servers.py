"""Real loopback servers for adapter tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver

__all__ = ["Resolver", "Upstream", "raw_server", "upstream"]


class Upstream:
    """An HTTP server that answers with what it saw; ``script`` statuses come first, then 200."""

    def __init__(self, *script: int, name: str = "") -> None:
        self.script = list(script)
        self.name = name
        self.port = 0
        self.seen: list[tuple[str, str, str, bytes]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request.method, request.path_qs, request.host, body))
        status = self.script.pop(0) if self.script else 200
        facts = {
            "method": request.method,
            "path": request.path_qs,
            "host": request.host,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": body.decode(),
            "server": self.name,
        }
        return web.json_response(facts, status=status)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def upstream(*script: int, name: str = "", **routes: Handler) -> AsyncIterator[Upstream]:
    """A running server; ``routes`` maps a first path segment to a handler of its own."""
    server = Upstream(*script, name=name)
    app = web.Application()
    for segment, handler in routes.items():
        app.router.add_route("*", f"/{segment}", handler)
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server that misbehaves as told; yields its port."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Resolver(AbstractResolver):
    """Sends a bare session to a server of the test, whatever the name."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        found = {"hostname": host, "host": "127.0.0.1", "port": self.port, "family": 2, "proto": 0, "flags": 0}
        return [found]

    async def close(self) -> None: ...
