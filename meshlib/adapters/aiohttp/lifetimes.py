"""When a policy ends connections: after so many requests, so long a life, so long without a request."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from weakref import WeakKeyDictionary

from aiohttp.client_proto import ResponseHandler

from meshlib._snapshot.clusters import ConnectionPool

__all__ = ["Lifetimes"]


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
