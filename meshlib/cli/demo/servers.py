"""The four services of Bookinfo as real HTTP servers on loopback, each version with several endpoints."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeAlias

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["APPS", "CALLERS", "BookinfoServers", "Guard", "Server", "Sessions"]

REPLICAS: Final = MappingProxyType(
    {
        ("productpage", "v1"): 2,
        ("details", "v1"): 2,
        ("reviews", "v1"): 4,
        ("reviews", "v2"): 2,
        ("reviews", "v3"): 2,
        ("ratings", "v1"): 2,
    }
)
"""How many servers each version of each service has."""

APPS: Final = ("productpage", "details", "reviews", "ratings")
"""The services, each a workload with an identity of its own."""

CALLERS: Final = ("productpage", "reviews")
"""The services that call other services, and so need a governed session."""

BOOK: Final = MappingProxyType({"title": "The Comedy of Errors", "year": 1595, "pages": 200, "language": "English"})
STARS: Final = MappingProxyType({"Reviewer1": 5, "Reviewer2": 4})

Guard: TypeAlias = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
"""A middleware that lets a request through to a handler, or refuses it."""

Sessions: TypeAlias = Mapping[str, aiohttp.ClientSession]
"""The governed client session of each caller, by service."""


@dataclass(slots=True, kw_only=True)
class Server:
    """One endpoint of a service. ``is_broken`` makes it answer 503.

    ``served`` counts the requests that reached it, ``refused`` those that it answered with 503.
    """

    service: str
    version: str
    number: int
    port: int = 0
    is_broken: bool = False
    served: int = 0
    refused: int = 0

    @property
    def name(self) -> str:
        """``reviews-v1-2``, also the name of its Pod."""
        return f"{self.service}-{self.version}-{self.number}"

    @property
    def address(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.port}"


class BookinfoServers:
    """All servers of the demo, started and stopped together.

    The services call each other through ``sessions``, and ``guards`` are asked before
    them. Both are set after the start, because their configuration names the ports of
    the servers. ``contexts`` are the TLS contexts by service; a service without one
    speaks plaintext.
    """

    def __init__(self, contexts: Mapping[str, ssl.SSLContext] = MappingProxyType({})) -> None:
        self._contexts = contexts
        self.servers: tuple[Server, ...] = tuple(
            Server(service=service, version=version, number=number)
            for (service, version), count in REPLICAS.items()
            for number in range(1, count + 1)
        )
        self.sessions: Sessions = {}
        self.guards: Mapping[str, Guard] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for server in self.servers:
                await self._start(server)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, server: Server) -> None:
        app = web.Application()
        handler = _counted(server, _SERVICES[server.service](server, self))
        app.router.add_get("/{path:.*}", _guarded(server.service, self, handler))
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._contexts.get(server.service)).start()
        server.port = runner.addresses[0][1]

    def __repr__(self) -> str:
        broken = sum(server.is_broken for server in self.servers)
        return f"<BookinfoServers servers={len(self.servers)} broken={broken}>"


def _guarded(service: str, bookinfo: BookinfoServers, handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        guard = bookinfo.guards.get(service)
        return await (handler(request) if guard is None else guard(request, handler))

    return handle


def _counted(server: Server, handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        server.served += 1
        if server.is_broken:
            server.refused += 1
            return web.Response(status=503, text="out of order")
        return await handler(request)

    return handle


def _productpage(server: Server, bookinfo: BookinfoServers) -> Handler:
    async def productpage(request: web.Request) -> web.StreamResponse:
        if request.path == "/account":
            return web.Response(text=f"the account of {request.headers.get('x-account', 'nobody')}")
        session, headers = bookinfo.sessions["productpage"], _forwarded(request)
        details, reviews = await asyncio.gather(
            _ask(session, "http://details:9080/details/0", headers),
            _ask(session, "http://reviews:9080/reviews/0", headers),
        )
        return web.json_response({"server": server.name, "details": details, "reviews": reviews})

    return productpage


def _details(server: Server, _: BookinfoServers) -> Handler:
    async def details(_: web.Request) -> web.StreamResponse:
        return web.json_response({"server": server.name, **BOOK})

    return details


def _reviews(server: Server, bookinfo: BookinfoServers) -> Handler:
    async def reviews(request: web.Request) -> web.StreamResponse:
        answer: dict[str, object] = {"server": server.name, "version": server.version}
        if server.version != "v1":
            url = "http://ratings:9080/ratings/0"
            answer["ratings"] = await _ask(bookinfo.sessions["reviews"], url, _forwarded(request))
        return web.json_response(answer)

    return reviews


def _ratings(server: Server, _: BookinfoServers) -> Handler:
    async def ratings(_: web.Request) -> web.StreamResponse:
        return web.json_response({"server": server.name, "stars": dict(STARS)})

    return ratings


_SERVICES: Final[Mapping[str, Callable[[Server, BookinfoServers], Handler]]] = {
    "productpage": _productpage,
    "details": _details,
    "reviews": _reviews,
    "ratings": _ratings,
}


def _forwarded(request: web.Request) -> dict[str, str]:
    """The headers that a service hands on: who the visitor is, and the id that ties the calls of one page together."""
    names = ("end-user", "x-request-id")
    return {name: request.headers[name] for name in names if name in request.headers}


async def _ask(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """What the other service answered: its JSON and ``status``, which is 0 if there was no answer."""
    try:
        async with session.get(url, headers=headers) as response:
            body = await response.json() if response.status == 200 else {}
            return {**body, "status": response.status}
    except (aiohttp.ClientError, TimeoutError) as error:
        return {"status": 0, "error": str(error)}
