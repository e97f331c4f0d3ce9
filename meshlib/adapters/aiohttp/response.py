"""Responses of a governed session: the upstream's, and those that the mesh makes itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict, CIMultiDictProxy

from meshlib._engine.commands import LocalReply
from meshlib._engine.exchange import Exchange
from meshlib.adapters.aiohttp.errors import BodyTimeoutError

__all__ = ["MeshResponse", "local_response", "response_class"]


class MeshResponse(aiohttp.ClientResponse):
    """aiohttp's response, with the route's changes to its headers and ``mesh``, which tells how it came about.

    It counts as on its way until its body is over, or until it is closed or released.
    """

    mesh: Exchange | None = None
    _mesh_released: Callable[[], None] | None = None
    _mesh_deadline: asyncio.TimerHandle | None = None
    _mesh_headers: CIMultiDictProxy[str] | None = None

    def attach(self, exchange: Exchange, released: Callable[[], None] | None = None) -> None:
        """Bind the exchange whose reply this is; ``released`` is called when its connection is free again."""
        self.mesh = exchange
        if exchange.changes_response:
            self._change(exchange)
        connection = self.connection
        if connection is None:  # the body came whole, together with the head
            exchange.finish(self.content.total_bytes)
            if released is not None:
                released()
            return
        # Its end, its close or release, and the loss of the last reference to the response: all let the connection go.
        self._mesh_released = released
        connection.add_callback(self._count_out)
        if self.status != 101 and (left := exchange.time_left) is not None:
            self._mesh_deadline = self._loop.call_later(left, self._time_out)

    def _change(self, exchange: Exchange) -> None:
        headers = CIMultiDict(self.headers)
        exchange.mutate_response(headers)
        self._mesh_headers = CIMultiDictProxy(headers)
        if exchange.cookies:  # the session's cookie jar reads these
            self._raw_cookie_headers = tuple(headers.getall("set-cookie", ()))

    def _count_out(self) -> None:
        if self._mesh_deadline is not None:
            self._mesh_deadline.cancel()
        exchange = self.mesh
        if exchange is not None:
            if type(self.content.exception()) is aiohttp.ClientPayloadError:
                exchange.break_off()
            exchange.finish(self.content.total_bytes)
        if self._mesh_released is not None:
            self._mesh_released()

    def _time_out(self) -> None:
        """The route's timeout ends in the middle of the body: what has come stays readable, then the stream breaks."""
        if self.mesh is not None:
            self.mesh.flag("UT")
        self.content.set_exception(BodyTimeoutError("the timeout of the route ended before the response's body"))
        self.close()

    @property
    def request_info(self) -> aiohttp.RequestInfo:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The request as the application made it: its URL, not the endpoint's."""
        info: aiohttp.RequestInfo = super().request_info
        return info._replace(url=self.url)

    @property
    def headers(self) -> CIMultiDictProxy[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The response's header fields, after the route's operations."""
        return self._headers if self._mesh_headers is None else self._mesh_headers


def response_class(base: type[aiohttp.ClientResponse] | None) -> type[MeshResponse]:
    """The governed form of a response class that the user passed."""
    if base is None or base is aiohttp.ClientResponse:
        return MeshResponse
    return type(f"Mesh{base.__name__}", (MeshResponse, base), {})


class _NothingSent:
    """Stands for the writer of a request that was never written."""

    output_size = 0


# ClientResponse has no public way to be made without a connection, and its parameters
# differ between releases: what this release takes is asked for, once.
_CONSTRUCTOR = frozenset(inspect.signature(aiohttp.ClientResponse.__init__).parameters)


def local_response(request: aiohttp.ClientRequest, reply: LocalReply, exchange: Exchange) -> MeshResponse:
    """A response that never was on a wire: the mesh's own reply."""
    loop = asyncio.get_running_loop()
    offered: dict[str, Any] = {
        "writer": None,
        "continue100": None,
        "timer": TimerNoop(),
        "request_info": request.request_info,
        "traces": [],
        "loop": loop,
        "session": request.session,
        "stream_writer": _NothingSent(),
        "original_url": request.original_url,
        "request_headers": request.headers,
    }
    known = {name: value for name, value in offered.items() if name in _CONSTRUCTOR}
    made = request.response_class
    assert issubclass(made, MeshResponse)
    response = made(request.method, request.original_url, **known)
    headers = CIMultiDict(reply.headers)
    content = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    if reply.body and request.method != "HEAD":
        content.feed_data(reply.body)
    content.feed_eof()
    response.version = aiohttp.HttpVersion11
    response.status = reply.status
    response.reason = _phrase(reply.status)
    response.content = content
    response._headers = CIMultiDictProxy(headers)
    response._raw_headers = tuple((name.encode(), value.encode()) for name, value in headers.items())
    response._closed = False
    response.mesh = exchange
    return response


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
