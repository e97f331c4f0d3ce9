"""What a policy says about connections, done with aiohttp's: connect timeout, keep-alive, pending.

:class:`Connections` is where a new connection is made, so that an exchange that reuses
one pays nothing. Who brings a connector of his own keeps what that one does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any, Final, Protocol, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

from meshlib._engine.commands import Send
from meshlib._engine.exchange import Exchange
from meshlib._snapshot.clusters import ConnectionPool
from meshlib.errors import MeshError

__all__ = ["Attempt", "Connections", "EndpointKeys", "PendingOverflowError"]

_KEY: Final = ("host", "port", "is_ssl", "ssl", "proxy", "proxy_auth", "proxy_headers_hash", "server_hostname")
_REMEMBERED: Final = 4096
_OPTIONS: Final = ("TCP_KEEPCNT", "TCP_KEEPIDLE", "TCP_KEEPINTVL")


class Attempt(Protocol):
    """What is asked of a request when it needs a connection."""

    exchange: Exchange
    key: ConnectionKey | None
    url: URL

    @property
    def pool(self) -> ConnectionPool:
        """The caps and timeouts of connections to where it goes."""
        ...

    def aim(self, host: str, port: int, path: str | None) -> None:
        """Set the URL of the request to an endpoint, for the one who makes a connection."""
        ...


class PendingOverflowError(aiohttp.ClientConnectionError):
    """Too many requests wait for a connection (http1MaxPendingRequests)."""


class _SecuredHandler(ResponseHandler):
    """aiohttp's end of a connection with TLS; its transport is among ``living`` while it is one."""

    def __init__(self, living: set[asyncio.WriteTransport], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._living = living
        self._secured: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if transport.get_extra_info("sslcontext") is not None:
            self._secured = cast("asyncio.WriteTransport", transport)
            self._living.add(self._secured)

    def set_exception(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, exc: Any, *cause: Any
    ) -> None:
        super().set_exception(exc, *cause)
        self._abort_closing()

    def close(self) -> None:
        self._abort_closing()
        super().close()

    def _abort_closing(self) -> None:
        """End what waits for a goodbye before it is closed again: asyncio cannot abort TLS that was closed twice."""
        if self._secured is not None and self._secured.is_closing():
            self._secured.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._secured is not None:
            self._living.discard(self._secured)
            self._secured = None


_is_secured: Final[ContextVar[bool]] = ContextVar("meshlib_is_secured", default=False)


class Connections:
    """Teaches one of aiohttp's connectors what the policies say about connections, and the endpoints of attempts.

    Attributes of that one connector take the place of methods of its class. A subclass
    would cost each request several microseconds wherever governed and other sessions live in one process: the
    interpreter specialises aiohttp's code for the class that it sees there, and for one only.

    An attempt with a key (:class:`EndpointKeys`) gets a connection that is open already
    without a URL of its endpoint being made. Requests of other sessions (mirrored copies)
    pass unchanged, but for their end.
    """

    __slots__ = ("_close", "_connect", "_connector", "_create", "_factory", "_living")

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self._connector: Any = connector
        self._connect = connector.connect
        self._create = connector._create_connection
        self._close = connector.close
        self._factory = connector._factory
        self._living: set[asyncio.WriteTransport] = set()
        own: Any = connector
        own.connect, own._create_connection, own.close = self.connect, self.create, self.close
        own._factory = self._make

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Connection:  # noqa: ASYNC109 - aiohttp's signature
        """A connection for a request, open already or new."""
        attempt: Attempt | None = getattr(req, "attempt", None)
        if attempt is None:
            _refuse_ungoverned(req)
            return await self._connect(req, traces, timeout)
        key = attempt.key
        if key is None:
            return await self._connect(req, traces, timeout)
        found: Connection | None = await self._connector._get(key, traces)
        if found is not None:
            return found
        attempt.aim(key.host, key.port or 0, None)
        try:
            return await self._connect(req, traces, timeout)
        finally:
            req.url = attempt.url

    async def create(self, req: Any, *args: Any, **kwargs: Any) -> ResponseHandler:
        """A new connection, within the limits of its cluster."""
        attempt: Attempt | None = getattr(req, "attempt", None)
        secured = _is_secured.set(req.is_ssl())
        try:
            if attempt is None:
                return await self._create(req, *args, **kwargs)
            return await self._create_within(attempt, req, *args, **kwargs)
        finally:
            _is_secured.reset(secured)

    async def _create_within(self, attempt: Attempt, req: Any, *args: Any, **kwargs: Any) -> ResponseHandler:
        exchange, pool = attempt.exchange, attempt.pool
        if not exchange.connecting():
            raise PendingOverflowError("too many requests wait for a connection")
        try:
            async with asyncio.timeout(pool.connect_timeout):
                protocol = await self._create(req, *args, **kwargs)
        except UnicodeError as error:  # a name that DNS cannot have
            raise aiohttp.ClientConnectorDNSError(req.connection_key, OSError(str(error))) from error
        finally:
            exchange.connected()
        if pool.tcp_keepalive is not None and protocol.transport is not None:
            _keep_alive(protocol.transport, pool.tcp_keepalive)
        return protocol

    def _make(self) -> ResponseHandler:
        """aiohttp's end of a connection that is being made."""
        return _SecuredHandler(self._living, self._connector._loop) if _is_secured.get() else self._factory()

    def close(self, **arguments: Any) -> Awaitable[None]:
        """Close what is open, also what aiohttp closed before: TLS waits for a goodbye, and would outlive the loop."""
        for transport in list(self._living):
            transport.abort()
        connector = vars(self._connector)
        for name in ("connect", "_create_connection", "close", "_factory"):
            connector.pop(name, None)  # no cycle is left to the collector
        return self._close(**arguments)


def _refuse_ungoverned(request: aiohttp.ClientRequest) -> None:
    if hasattr(request.session, "mesh_governor"):
        raise MeshError(
            f"{request.method} {request.original_url} would leave the process without passing the mesh; "
            "make requests only through the session's own methods"
        )


class EndpointKeys:
    """The connection keys of endpoints: what a request needs to get a connection to one, in place of its URL.

    A URL made for each attempt costs more than everything that the mesh decides.

    Only for what has been measured and tested: a connector with :class:`Connections`, keys
    as in aiohttp 3.14, plain HTTP to an endpoint, no proxy, nothing rewritten. Anything
    else has its URL set, which aiohttp documents.
    """

    __slots__ = ("_is_used", "known")

    def __init__(self, *, is_used: bool) -> None:
        self._is_used = is_used and ConnectionKey._fields == _KEY
        self.known: dict[Send, ConnectionKey | None] = {}
        """What was found before, for plain HTTP without a proxy."""

    def find(self, send: Send) -> ConnectionKey | None:
        """The key for an attempt; None: it needs a URL."""
        if not self._is_used or send.attempt > 1 or send.path is not None:
            return None
        if len(self.known) >= _REMEMBERED:
            self.known.clear()
        key = self.known[send] = _key(send)
        return key


def _key(send: Send) -> ConnectionKey | None:
    endpoint, policy = send.endpoint, send.cluster.policy
    if endpoint is None or send.authority is not None or policy.connection_pool.ends_connections:
        return None
    if policy.tls.mode != "DISABLE" and not (policy.tls.mode == "AUTO" and not endpoint.mesh_tls):
        return None
    return ConnectionKey(
        endpoint.address, endpoint.port, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
    )


def _keep_alive(transport: asyncio.BaseTransport, settings: tuple[int | None, float | None, float | None]) -> None:
    """Set the kernel's keep-alive probes: how many, after how long, how often. What is unset is the kernel's."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(_OPTIONS, settings, strict=True):
        if value is not None and hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), max(int(value), 1))
