"""Connections of asyncio that carry one request at a time from the moment it is given to them.

httpcore marks a connection as busy only after two locks of anyio, each of which gives the
loop a turn. Requests that come meanwhile are given the same connection, and all but one of
them have to come back for another: with 32 in flight that was more than once for each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from httpcore import AsyncConnectionPool, AsyncHTTPConnection
else:
    AsyncConnectionPool = AsyncHTTPConnection = object  # httpcore need not be there

__all__ = ["reserving_pool"]


class _Reserved(AsyncHTTPConnection):
    """A connection of HTTP/1.1 that is taken until the head of a response has come; then httpcore knows it itself."""

    _is_taken = False
    _refusal: type[Exception]

    async def handle_async_request(self, request: Any) -> Any:
        if self._is_taken:
            raise self._refusal
        self._is_taken = True
        try:
            made = getattr(self, "_connection", None)
            if made is not None:  # the lock of httpcore is for those that wait for it to be made
                return await made.handle_async_request(request)
            return await super().handle_async_request(request)
        finally:
            self._is_taken = False

    def is_available(self) -> bool:
        return not self._is_taken and super().is_available()

    def is_idle(self) -> bool:
        return not self._is_taken and super().is_idle()

    def has_expired(self) -> bool:
        return not self._is_taken and super().has_expired()


class _Pool(AsyncConnectionPool):
    """Makes such connections, unless there is a proxy between."""

    _plain: type
    _reserved: type

    def create_connection(self, origin: Any) -> Any:
        connection = super().create_connection(origin)
        if type(connection) is self._plain:
            connection.__class__ = self._reserved
        return connection


def reserving_pool(core: Any) -> Any:
    """The class of pools for the connections of ``core``, which must not be asked for HTTP/2."""
    plain = core.AsyncHTTPConnection
    reserved = type("MeshConnection", (_Reserved, plain), {"_refusal": core.ConnectionNotAvailable})
    return type("MeshPool", (_Pool, core.AsyncConnectionPool), {"_plain": plain, "_reserved": reserved})
