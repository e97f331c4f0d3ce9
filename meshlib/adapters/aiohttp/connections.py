"""What a policy says about connections, done with aiohttp's: connect timeout, keep-alive, pending, lifetimes.

:class:`MeshConnector` is where a new connection is made, so that an exchange that reuses
one pays nothing. Who brings a connector of his own keeps what that one does.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import TimerHandle
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, Protocol, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey

from meshlib._engine.commands import Send
from meshlib._engine.exchange import Exchange
from meshlib._snapshot.clusters import ConnectionPool

__all__ = ["Attempt", "EndpointKeys", "Lifetimes", "MeshConnector", "PendingOverflowError"]

_KEY: Final = ("host", "port", "is_ssl", "ssl", "proxy", "proxy_auth", "proxy_headers_hash", "server_hostname")
_REMEMBERED: Final = 4096
_OPTIONS: Final = ("TCP_KEEPCNT", "TCP_KEEPIDLE", "TCP_KEEPINTVL")


class Attempt(Protocol):
    """What the connector and the lifetimes ask of a request."""

    exchange: Exchange
    pool: ConnectionPool

    def aim(self, host: str, port: int, path: str | None) -> None:
        """Set the URL of the request to an endpoint, for the one who makes a connection."""
        ...


class PendingOverflowError(aiohttp.ClientConnectionError):
    """Too many requests wait for a connection (http1MaxPendingRequests)."""


class _SecuredHandler(ResponseHandler):
    """aiohttp's end of a connection; its transport is among ``living`` while it is one with TLS."""

    def __init__(self, living: set[asyncio.WriteTransport], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._living = living
        self._secured: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if transport.get_extra_info("sslcontext") is not None:
            self._secured = cast("asyncio.WriteTransport", transport)
            self._living.add(self._secured)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._secured is not None:
            self._living.discard(self._secured)
            self._secured = None


class MeshConnector(aiohttp.TCPConnector):
    """aiohttp's connector, which makes connections as the policy of the request's cluster says.

    Closing it ends all connections, also those that aiohttp closed before: one with TLS
    waits for the upstream's goodbye then, and would outlive the event loop.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._living: set[asyncio.WriteTransport] = set()
        self._factory = cast("partial[ResponseHandler]", partial(_SecuredHandler, self._living, self._loop))

    def close(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, abort_ssl: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Close what is open."""
        for transport in list(self._living):
            transport.abort()
        return super().close(abort_ssl=abort_ssl)

    async def _create_connection(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any
    ) -> ResponseHandler:
        attempt: Attempt | None = getattr(req, "attempt", None)
        if attempt is None:
            return await super()._create_connection(req, *args, **kwargs)
        exchange, pool, called = attempt.exchange, attempt.pool, req.url
        if not exchange.connecting():
            raise PendingOverflowError("too many requests wait for a connection")
        key = req.connection_key
        if key.host != called.raw_host or key.port != called.port:
            attempt.aim(key.host, key.port or 0, None)  # the request names its endpoint by its key only
        try:
            async with asyncio.timeout(pool.connect_timeout):
                protocol = await super()._create_connection(req, *args, **kwargs)
        finally:
            req.url = called
            exchange.connected()
        if pool.tcp_keepalive is not None and protocol.transport is not None:
            _keep_alive(protocol.transport, pool.tcp_keepalive)
        return protocol


class EndpointKeys:
    """The connection keys of endpoints: what a request needs to get a connection to one, in place of its URL.

    aiohttp asks a request for its key and, only if it has no connection with that, for
    its URL. A URL made for each attempt costs more than everything that the mesh decides.

    Only for what has been measured and tested: the connector of this module, keys as in
    aiohttp 3.14, plain HTTP to an endpoint, no proxy, nothing rewritten. Anything else
    has its URL set, which aiohttp documents.
    """

    __slots__ = ("_is_used", "known")

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self._is_used = type(connector) is MeshConnector and ConnectionKey._fields == _KEY
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


class _Lifetime:
    """One connection: its requests, whether one is on it now, and the timers that may end it."""

    __slots__ = ("ends", "idle", "is_busy", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.is_busy = False
        self.ends: TimerHandle | None = None
        self.idle: TimerHandle | None = None


class Lifetimes:
    """Ends connections after their last request, their longest duration, or their idle time.

    A connection that is in use is closed after its response, never during it.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[ResponseHandler, _Lifetime] = WeakKeyDictionary()

    def use(self, protocol: ResponseHandler, pool: ConnectionPool) -> None:
        """A request is about to be sent on the connection."""
        life = self._known.get(protocol)
        if life is None:
            life = self._known[protocol] = _Lifetime()
            if pool.max_connection_duration is not None:
                loop = asyncio.get_running_loop()
                life.ends = loop.call_later(pool.max_connection_duration, _end, protocol, life)
        life.requests += 1
        life.is_busy = True
        if life.idle is not None:
            life.idle.cancel()
            life.idle = None
        if pool.max_requests_per_connection and life.requests >= pool.max_requests_per_connection:
            protocol.force_close()

    def release(self, protocol: ResponseHandler, pool: ConnectionPool) -> None:
        """Its response is over."""
        life = self._known.get(protocol)
        if life is None:
            return
        life.is_busy = False
        if not protocol.is_connected() or protocol.should_close:
            self._forget(protocol, life)
        elif pool.idle_timeout is not None:
            life.idle = asyncio.get_running_loop().call_later(pool.idle_timeout, _end, protocol, life)

    def _forget(self, protocol: ResponseHandler, life: _Lifetime) -> None:
        for timer in (life.ends, life.idle):
            if timer is not None:
                timer.cancel()
        self._known.pop(protocol, None)

    def close(self) -> None:
        """The session is over: no timer is left behind."""
        for protocol, life in list(self._known.items()):
            self._forget(protocol, life)


def _end(protocol: ResponseHandler, life: _Lifetime) -> None:
    protocol.force_close()
    if not life.is_busy:
        protocol.close()
