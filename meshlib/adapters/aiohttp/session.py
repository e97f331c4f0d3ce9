"""The governed session: every call on it goes through the mesh, whatever aiohttp arguments are used."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from meshlib._runtime import Runtime
from meshlib.adapters.aiohttp.calls import Calls, Governor
from meshlib.adapters.aiohttp.connections import Connections, EndpointKeys

__all__ = ["govern_session", "governed_session"]

_close = aiohttp.ClientSession.close


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
    governor = Governor(runtime, keys or EndpointKeys(is_used=False), raise_on_refusal=raise_on_refusal)
    own = tuple(arguments.get("middlewares") or ())
    arguments["middlewares"] = (*own, governor.govern)
    session = aiohttp.ClientSession(**arguments)
    calls = Calls(session, governor, has_own_middlewares=bool(own))

    async def close() -> None:
        await governor.close()
        await _close(session)
        for name in ("_request", "close"):
            vars(session).pop(name, None)  # no cycle is left to the collector
        calls.close()
        await asyncio.sleep(0)  # in this turn the loop lets go of the sockets

    for name, value in (("_request", calls.request), ("close", close), ("mesh_governor", governor)):
        object.__setattr__(session, name, value)  # aiohttp warns of attributes of others
    return session
