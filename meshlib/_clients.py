"""The verbs that make governed clients: one for each client library."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from meshlib.errors import MeshClosedError

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from socket import socket
    from ssl import SSLContext

    from aiohttp import ClientSession
    from httpx import AsyncClient, Client
    from pybreaker import CircuitBreaker
    from requests import Session

    from meshlib._calls.attempt import CallAttempt
    from meshlib._calls.calls import Calls
    from meshlib._calls.classification import Classify
    from meshlib._calls.fallbacks import Fallback
    from meshlib._calls.tenacity_rules import Retry, Stop, Wait
    from meshlib._runtime import Runtime
    from meshlib.adapters.urllib3 import MeshPoolManager

__all__ = ["Clients"]

P = ParamSpec("P")
R = TypeVar("R")


class Clients:
    """What a mesh makes. Each client goes on working when the mesh is closed; none is made then."""

    runtime: Runtime
    _is_closed = False
    _calls: Calls | None = None

    def aiohttp(self, *, raise_on_refusal: bool = False, **arguments: Any) -> ClientSession:
        """A governed :class:`aiohttp.ClientSession`; every argument of ClientSession is accepted.

        A request that the mesh refuses gets the response that Envoy would send, as behind
        a sidecar. ``raise_on_refusal=True`` raises instead: an error that is both a
        :class:`meshlib.errors.RefusedError` and an aiohttp error.
        """
        from meshlib.adapters.aiohttp import governed_session

        return governed_session(self._open().runtime, raise_on_refusal=raise_on_refusal, **arguments)

    def httpx(self, *, raise_on_refusal: bool = False, **arguments: Any) -> Client:
        """A governed :class:`httpx.Client`; every argument of Client is accepted.

        httpx2 where only that is installed; ``package="httpx2"`` asks for it. Refusals as
        in :meth:`aiohttp`; ``response.extensions["mesh"]`` tells how a response came about.
        Needs the extra ``httpx`` or ``httpx2``.
        """
        from meshlib.adapters.httpx import governed_client

        return governed_client(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    def httpx_async(self, *, raise_on_refusal: bool = False, **arguments: Any) -> AsyncClient:
        """A governed :class:`httpx.AsyncClient`, on asyncio; as :meth:`httpx`."""
        from meshlib.adapters.httpx import governed_async_client

        return governed_async_client(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    def requests(self, *, raise_on_refusal: bool = False, **arguments: Any) -> Session:
        """A governed :class:`requests.Session`; ``arguments`` are those of its adapter, ``pool_maxsize`` for one.

        Refusals as in :meth:`aiohttp`; ``response.mesh`` tells how a response came about.
        Needs the extra ``requests``.
        """
        from meshlib.adapters.requests import governed_session

        return governed_session(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    def urllib3(self, *, raise_on_refusal: bool = False, **arguments: Any) -> MeshPoolManager:
        """A governed :class:`urllib3.PoolManager`; every argument of PoolManager is accepted.

        Refusals as in :meth:`aiohttp`; ``response.mesh`` tells how a response came about.
        Needs the extra ``requests``, which brings urllib3.
        """
        from meshlib.adapters.urllib3 import MeshPoolManager

        return MeshPoolManager(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    async def open_connection(
        self,
        host: str,
        port: int,
        *,
        ssl: SSLContext | bool | None = None,
        server_hostname: str | None = None,
        limit: int = 2**16,
    ) -> tuple[StreamReader, StreamWriter]:
        """As :func:`asyncio.open_connection`, for what is not HTTP: a database, a queue, any TCP or TLS service.

        The ``tcp`` and ``tls`` routes of VirtualServices, weights, ejections,
        ``maxConnections``, ``connectTimeout``, ``idleTimeout``, ``maxConnectionDuration``,
        keep-alive and TLS of DestinationRules hold for the connection. ``ssl`` is for an
        application that starts TLS itself; ``server_hostname`` is then what routes match
        as ``sniHosts`` (default: ``host``). Where a rule has a ``tls`` block, that decides.

        Raises an error that is both a :class:`meshlib.errors.RefusedError` and a
        :class:`ConnectionError` (and a :class:`TimeoutError` after ``connectTimeout``), and
        :class:`meshlib.MeshError` for a port that carries HTTP.
        """
        from meshlib.adapters.connections import open_connection

        runtime = self._open().runtime
        return await open_connection(runtime, host, port, ssl=ssl, server_hostname=server_hostname, limit=limit)

    def create_connection(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        *,
        ssl: SSLContext | bool | None = None,
        server_hostname: str | None = None,
    ) -> socket:
        """As :func:`socket.create_connection`, with the routes and policies of :meth:`open_connection`.

        ``timeout`` bounds the connecting too, if it is shorter than ``connectTimeout``. The
        socket is an ordinary one; ``idleTimeout`` and ``maxConnectionDuration`` do not end it.
        """
        from meshlib.adapters.connections import create_connection

        return create_connection(self._open().runtime, address, timeout, ssl=ssl, server_hostname=server_hostname)

    def call(
        self,
        host: str,
        *,
        subset: str | None = None,
        port: int | None = None,
        method: str | None = None,
        fallback: Fallback | None = None,
        classify: Classify | None = None,
        stop: Stop | None = None,
        wait: Wait | None = None,
        retry: Retry | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator: every call of a function or method, plain or asynchronous, is an exchange with ``host``.

        Timeouts, retries, limits, faults, outlier detection and the ClientPolicy of the
        host hold for it. ``subset`` replaces that of the route; ``port`` selects the rules
        (default: 80 if the host is known there, else its lowest port); ``method`` is what
        routes match and ``retrySafety`` judges by (default: ``CALL``, which counts as unsafe).

        ``fallback`` is called with the same arguments when all attempts have failed or the
        mesh refused; or a :class:`meshlib.LastGood`. ``classify`` takes what the function
        returned or raised and says what that counts as: a status, ``"connect-failure"``,
        ``"reset"``, ``"refused-stream"``, or None for the default (a result is a 200, an
        exception a 500 unless it says better; see the page on decorators).

        ``stop``, ``wait`` and ``retry`` of tenacity take the place of the route's attempts,
        backoff and retryOn; ``breaker`` is a :class:`pybreaker.CircuitBreaker` to obey.

        When all fails, the function's own last exception is raised, or what it returned;
        where the mesh refused or cut it off, a :class:`meshlib.errors.RefusedError`.
        A plain function cannot be cut off: it runs to its end.
        """
        return self._functions().decorator(
            host,
            subset=subset,
            port=port,
            method=method,
            fallback=fallback,
            classify=classify,
            stop=stop,
            wait=wait,
            retry=retry,
            breaker=breaker,
        )

    def run(self, host: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function once, as if it were decorated by :meth:`call`; await it if it is asynchronous."""
        return self._functions().run(host, function, *args, **kwargs)

    def attempt(self, host: str) -> CallAttempt:
        """A block of code as one attempt: ``with mesh.attempt("ratings"):``, or ``async with``.

        As :meth:`call`, without retries: a block cannot be repeated.
        """
        return self._functions().attempt(host)

    def _functions(self) -> Calls:
        self._open()
        if self._calls is None:
            from meshlib._calls.calls import Calls

            self._calls = Calls(self.runtime)
        return self._calls

    def _open(self) -> Clients:
        if self._is_closed:
            raise MeshClosedError
        return self
