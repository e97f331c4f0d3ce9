"""The governed session: every exchange goes through the mesh, whatever aiohttp arguments are used.

The mesh is the innermost client middleware, closest to the wire, like a sidecar: the
user's own middlewares run once an exchange and see what the mesh answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType

from meshlib._drivers import agovern
from meshlib._engine.commands import LocalReply
from meshlib._http import Response
from meshlib._runtime import Runtime
from meshlib._timers import Timers
from meshlib.adapters.aiohttp.connections import Connections, EndpointKeys
from meshlib.adapters.aiohttp.errors import refusal_error
from meshlib.adapters.aiohttp.exchanges import Governed, Shared
from meshlib.adapters.aiohttp.response import attach, local_response
from meshlib.adapters.aiohttp.tapes import start_tape

__all__ = ["govern_session", "governed_session"]

_request, _close = aiohttp.ClientSession._request, aiohttp.ClientSession.close


def governed_session(runtime: Runtime, *, raise_on_refusal: bool = False, **arguments: Any) -> aiohttp.ClientSession:
    """A :class:`aiohttp.ClientSession` governed by ``runtime``; every argument of ClientSession is accepted.

    A request that the mesh refuses gets the response that Envoy would send (a 503 with
    Envoy's body, say), as behind a sidecar; ``raise_on_refusal=True`` raises instead: an
    error that is both a :class:`meshlib.errors.RefusedError` and an aiohttp error.

    Without ``connector=``, connections are made as the DestinationRules say (connect
    timeout, keep-alive, pending requests), at most ``limit`` at a time (default: 100, as in
    aiohttp; 0: any number); a connector of your own does that its own way.
    """
    connections = arguments.pop("limit", 100)
    if arguments.get("connector") is not None:
        return govern_session(runtime, raise_on_refusal=raise_on_refusal, **arguments)
    connector = arguments["connector"] = aiohttp.TCPConnector(limit=connections)
    Connections(connector)
    keys = EndpointKeys(is_used=True)
    return govern_session(runtime, keys, raise_on_refusal=raise_on_refusal, **arguments)


def govern_session(
    runtime: Runtime, keys: EndpointKeys | None = None, *, raise_on_refusal: bool = False, **arguments: Any
) -> aiohttp.ClientSession:
    """A governed session on a connector that is given; ``keys`` are for one with :class:`Connections`.

    The session is aiohttp's own class, with two methods replaced in this one instance
    (why not in a subclass: see :class:`Connections`). It is restored by its ``close``.
    """
    governor = _Governor(runtime, keys or EndpointKeys(is_used=False), raise_on_refusal=raise_on_refusal)
    own = tuple(arguments.get("middlewares") or ())
    arguments["middlewares"] = (*own, governor.govern)
    session = aiohttp.ClientSession(**arguments)
    total, unlimited, traces = session.timeout.total, _without_total(session.timeout), session.trace_configs
    if own or callable(session.raise_for_status):
        total = None  # what else there is to wait for is within it too

    def request(
        method: str, url: Any, *, middlewares: Sequence[ClientMiddlewareType] | None = None, **kwargs: Any
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Those of a single request add to the mesh instead of replacing it."""
        if middlewares is not None:
            middlewares = (*middlewares, governor.govern)
        elif total and not traces and _LIMITS.isdisjoint(kwargs):
            # The total timeout of the session is the mesh's to keep: nothing outside of the exchange waits.
            return _request(
                session, method, url, middlewares=(_Call(governor, total).govern,), timeout=unlimited, **kwargs
            )
        return _request(session, method, url, middlewares=middlewares, **kwargs)

    async def close() -> None:
        await governor.close()
        await _close(session)
        for name in ("_request", "close"):
            vars(session).pop(name, None)  # no cycle is left to the collector
        await asyncio.sleep(0)  # in this turn the loop lets go of the sockets

    for name, value in (("_request", request), ("close", close), ("mesh_governor", governor)):
        object.__setattr__(session, name, value)  # aiohttp warns of attributes of others
    return session


_LIMITS: Final = frozenset(("timeout", "raise_for_status"))
"""Arguments of a request which tell how long it may take, or may themselves wait."""


def _without_total(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        connect=timeout.connect,
        sock_read=timeout.sock_read,
        sock_connect=timeout.sock_connect,
        ceil_threshold=timeout.ceil_threshold,
    )


class _Call:
    """One call of the application, of at most ``total`` seconds: all its exchanges (one more each redirect) share them.

    aiohttp's own timer for that costs a fifth of a call, the mesh's next to nothing: most exchanges
    have a shorter one of their own.
    """

    __slots__ = ("_began", "_governor", "_total")

    def __init__(self, governor: _Governor, total: float) -> None:
        self._governor = governor
        self._total = total
        self._began: float | None = None

    def govern(self, request: Any, handler: ClientHandlerType) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """The client middleware of this call."""
        return self._governor.govern(request, handler, self)

    def limit(self, began: float) -> float:
        """The seconds that are left for an exchange that begins now."""
        if self._began is None:
            self._began = began
            return self._total
        return max(self._total - (began - self._began), 0.0)


class _Governor(Shared):
    """The client middleware of one session: :meth:`govern`."""

    __slots__ = ("_raise_on_refusal", "_runtime", "_timers")

    def __init__(self, runtime: Runtime, keys: EndpointKeys, *, raise_on_refusal: bool) -> None:
        super().__init__(runtime, keys)
        self._runtime = runtime
        self._raise_on_refusal = raise_on_refusal
        self._timers: Timers | None = None

    async def govern(
        self, request: Any, handler: ClientHandlerType, call: _Call | None = None
    ) -> aiohttp.ClientResponse:
        """One exchange each time aiohttp enters the chain."""
        timers = self._timers
        if timers is None:
            timers = self._timers = Timers()  # a session belongs to one loop
        governed = Governed(request, handler, self)
        can_replay = governed.can_replay if request.body else _without_body
        exchange = governed.exchange = self._runtime.begin(governed, request.headers, can_replay)
        limit = None if call is None else call.limit(exchange.started)
        try:
            reply = await agovern(exchange, governed, timers, limit)
        finally:  # no cycle through here is left to the collector
            request.attempt = None
            del governed.request, governed.exchange
        if type(reply) is Response or start_tape(reply):
            response: aiohttp.ClientResponse = reply.handle
            attach(response, exchange, governed, limit)
            return response
        assert isinstance(reply, LocalReply)
        if self._raise_on_refusal and reply.refusal:
            raise refusal_error(exchange, reply, request) from reply.error
        return local_response(request, reply, exchange)


def _without_body() -> bool:
    """A request without a body can always be sent again."""
    return True
