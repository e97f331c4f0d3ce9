"""The governed session: every exchange goes through the mesh, whatever aiohttp arguments are used.

The mesh is the innermost client middleware, closest to the wire, like a sidecar: the
user's own middlewares run once an exchange and see what the mesh answers.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Coroutine, Sequence
from typing import Any

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType

from meshlib._drivers import agovern
from meshlib._engine.commands import LocalReply
from meshlib._http import Response
from meshlib._runtime import Runtime
from meshlib._timers import Timers
from meshlib.adapters.aiohttp.connections import EndpointKeys, MeshConnector
from meshlib.adapters.aiohttp.errors import refusal_error
from meshlib.adapters.aiohttp.exchanges import Governed, MeshRequest, Shared
from meshlib.adapters.aiohttp.response import MeshResponse, local_response, response_class

__all__ = ["governed_session"]


with warnings.catch_warnings():
    # Inheriting is discouraged because private methods may change. Only `_request` is overridden,
    # passing everything on; without it, MeshRequest.send still keeps ungoverned requests in.
    warnings.simplefilter("ignore", DeprecationWarning)

    class MeshSession(aiohttp.ClientSession):
        """A session whose ``middlewares=`` of a single request add to the mesh instead of replacing it."""

        ATTRS = aiohttp.ClientSession.ATTRS | {"_governor"}
        _governor: _Governor

        def _request(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, *args: Any, **kwargs: Any
        ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
            own: Sequence[ClientMiddlewareType] | None = kwargs.get("middlewares")
            if own is not None:
                kwargs["middlewares"] = (*own, self._governor.govern)
            return super()._request(*args, **kwargs)

        async def close(self) -> None:
            await self._governor.close()
            await super().close()
            await asyncio.sleep(0)  # in this turn the loop lets go of the sockets


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
    if arguments.get("connector") is None:
        arguments["connector"] = MeshConnector(limit=connections)
    governor = _Governor(runtime, EndpointKeys(arguments["connector"]), raise_on_refusal=raise_on_refusal)
    arguments["middlewares"] = (*(arguments.get("middlewares") or ()), governor.govern)
    arguments["response_class"] = response_class(arguments.get("response_class"))
    arguments["request_class"] = _request_class(arguments.get("request_class"))
    session = MeshSession(**arguments)
    session._governor = governor
    return session


def _request_class(base: type[aiohttp.ClientRequest] | None) -> type[MeshRequest]:
    if base is None or base is aiohttp.ClientRequest:
        return MeshRequest
    return type(f"Mesh{base.__name__}", (MeshRequest, base), {})


class _Governor(Shared):
    """The client middleware of one session: :meth:`govern`."""

    __slots__ = ("_raise_on_refusal", "_runtime", "_timers")

    def __init__(self, runtime: Runtime, keys: EndpointKeys, *, raise_on_refusal: bool) -> None:
        super().__init__(runtime, keys)
        self._runtime = runtime
        self._raise_on_refusal = raise_on_refusal
        self._timers: Timers | None = None

    async def govern(self, request: Any, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        """One exchange each time aiohttp enters the chain, with a :class:`MeshRequest`."""
        timers = self._timers
        if timers is None:
            timers = self._timers = Timers()  # a session belongs to one loop
        governed = Governed(request, handler, self)
        can_replay = governed.can_replay if request.body else _without_body
        exchange = governed.exchange = self._runtime.begin(governed, request.headers, can_replay)
        try:
            reply = await agovern(exchange, governed, timers)
        finally:  # no cycle through here is left to the collector
            request.attempt = None
            del governed.request, governed.exchange
        if type(reply) is Response:
            response: MeshResponse = reply.handle
            response.attach(exchange, governed.release if governed.protocol is not None else None)
            return response
        assert isinstance(reply, LocalReply)
        if self._raise_on_refusal and reply.refusal:
            raise refusal_error(exchange, reply, request) from reply.error
        return local_response(request, reply, exchange)


def _without_body() -> bool:
    """A request without a body can always be sent again."""
    return True
