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
from meshlib.adapters.aiohttp.exchanges import Governed

__all__ = ["attach", "local_response"]


def attach(response: Any, exchange: Exchange, governed: Governed, limit: float | None) -> None:
    """Bind the exchange whose reply this is, as ``response.mesh``, with what the route changes in its headers.

    It counts as on its way until its body is over, or until it is closed, released or lost.
    ``limit`` are the seconds that the application allows it in all; None: any time.
    """
    response.mesh = exchange
    if exchange.changes_response:
        _change(response, exchange)
    if governed.key is None:  # the URL of its request was an endpoint's
        response._request_info = response._request_info._replace(url=response.url)
    connection = response.connection
    if connection is None:  # the body came whole, together with the head
        exchange.finish(response.content.total_bytes)
        if governed.protocol is not None:
            governed.release()
        return
    body = _Body(exchange, response.content, governed.release if governed.protocol is not None else None)
    # Its end, its close or release, and the loss of the last reference to the response: all let the connection go.
    connection.add_callback(body.end)
    if response.status != 101:
        body.bound(response, exchange.time_left, None if limit is None else max(limit - exchange.elapsed, 0.0))


def _change(response: Any, exchange: Exchange) -> None:
    headers = CIMultiDict(response.headers)
    exchange.mutate_response(headers)
    response._headers = CIMultiDictProxy(headers)
    response._cache.pop("headers", None)
    response._raw_cookie_headers = _cookies(headers)


def _cookies(headers: CIMultiDict[str]) -> tuple[str, ...] | None:
    """What the session's cookie jar reads."""
    return tuple(headers.getall("set-cookie", ())) or None


class _Body:
    """The body of a response that is on its way: its end ends the exchange, and its timeout ends it."""

    __slots__ = ("_content", "_exchange", "_released", "deadline")

    def __init__(self, exchange: Exchange, content: aiohttp.StreamReader, released: Callable[[], None] | None) -> None:
        self._exchange = exchange
        self._content = content
        self._released = released
        self.deadline: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Its connection is let go."""
        if self.deadline is not None:
            self.deadline.cancel()
        if type(self._content.exception()) is aiohttp.ClientPayloadError:
            self._exchange.break_off()
        self._exchange.finish(self._content.total_bytes)
        if self._released is not None:
            self._released()

    def bound(self, response: aiohttp.ClientResponse, route: float | None, own: float | None) -> None:
        """Break it off after the seconds that the route still has, or the application if that is sooner."""
        loop = asyncio.get_running_loop()
        if route is not None and (own is None or route <= own):
            self.deadline = loop.call_later(route, self.time_out, response)
        elif own is not None:
            self.deadline = loop.call_later(own, self.run_out, response)

    def time_out(self, response: aiohttp.ClientResponse) -> None:
        """The route's timeout ends in the middle of it: what has come stays readable, then the stream breaks."""
        self._exchange.flag("UT")
        self._content.set_exception(BodyTimeoutError("the timeout of the route ended before the response's body"))
        response.close()

    def run_out(self, response: aiohttp.ClientResponse) -> None:
        """The application's own timeout does: it gets what aiohttp would raise."""
        self._content.set_exception(TimeoutError())
        response.close()


class _NothingSent:
    """Stands for the writer of a request that was never written."""

    output_size = 0


# ClientResponse has no public way to be made without a connection, and its parameters
# differ between releases: what this release takes is asked for, once.
_CONSTRUCTOR = frozenset(inspect.signature(aiohttp.ClientResponse.__init__).parameters)


def local_response(request: aiohttp.ClientRequest, reply: LocalReply, exchange: Exchange) -> aiohttp.ClientResponse:
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
    made = request.response_class or aiohttp.ClientResponse
    response: Any = made(request.method, request.original_url, **known)
    headers = CIMultiDict(reply.headers)
    # Of more than its limit it would ask the connection to wait, which there is none.
    content = aiohttp.StreamReader(BaseProtocol(loop), max(2**16, len(reply.body)), loop=loop)
    if reply.body and request.method != "HEAD":
        content.feed_data(reply.body)
    content.feed_eof()
    response.version = aiohttp.HttpVersion11
    response.status = reply.status
    response.reason = _phrase(reply.status)
    response.content = content
    response._headers = CIMultiDictProxy(headers)
    response._raw_cookie_headers = _cookies(headers)
    response._raw_headers = tuple((name.encode(), value.encode()) for name, value in headers.items())
    response._closed = False
    response.mesh = exchange
    made_response: aiohttp.ClientResponse = response
    return made_response


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
