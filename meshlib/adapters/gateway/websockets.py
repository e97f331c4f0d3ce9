"""A websocket through the gateway: the handshake is a governed request, the messages go both ways."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from meshlib._http import Headers
from meshlib.adapters.gateway.client import Receive, Scope, Send
from meshlib.adapters.gateway.headers import RawHeaders, response_headers

__all__ = ["Socket", "refuse_websocket", "stopping_at_redirects", "tunnel"]

_NORMAL: Final = 1000
_UNSAID: Final = (1005, 1006, 1015)
"""Codes that stand for what a peer did not say: they cannot be sent."""


class Socket(aiohttp.ClientWebSocketResponse):
    """A connection to a service that remembers the headers of its handshake."""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """What the service and the route say besides the protocol."""
        return self._response.headers


def stopping_at_redirects() -> aiohttp.TraceConfig:
    """For the session of the handshakes: a redirect is for the client, and not followed by the gateway.

    aiohttp follows it, to wherever the service says, and has no argument against that for websockets.
    """
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    return trace


async def _refuse(_: aiohttp.ClientSession, __: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:
    answer = redirect.response
    answer.close()
    raise aiohttp.WSServerHandshakeError(
        answer.request_info, answer.history, status=answer.status, headers=answer.headers
    )


async def tunnel(
    session: aiohttp.ClientSession, url: URL, headers: Headers, scope: Scope, receive: Receive, send: Send
) -> None:
    """Connect to the service and pass messages on until one side ends; a refused handshake goes back as it is."""
    for name in [name for name in headers if name.lower().startswith("sec-websocket-")]:
        del headers[name]
    protocols = scope.get("subprotocols") or ()
    try:
        upstream = await session.ws_connect(
            url, headers=headers, protocols=protocols, compress=0, max_msg_size=0, autoping=True
        )
    except aiohttp.WSServerHandshakeError as error:
        found = CIMultiDictProxy(Headers(error.headers or {}))
        raw = response_headers(found, service_time=None)
        await refuse_websocket(scope, send, error.status if error.status != 101 else 502, raw, b"")
        return
    async with upstream:
        accepted = _passed_on(upstream.headers) if isinstance(upstream, Socket) else []
        await send({"type": "websocket.accept", "subprotocol": upstream.protocol, "headers": accepted})
        down = asyncio.ensure_future(_downward(upstream, send))
        up = asyncio.ensure_future(_upward(upstream, receive))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)


def _passed_on(headers: CIMultiDictProxy[str]) -> RawHeaders:
    """The headers of a handshake, for the client; those of the protocol its own server makes."""
    raw = response_headers(headers, service_time=None)
    return [pair for pair in raw if not pair[0].startswith((b"sec-websocket-", b"content-length"))]


async def _upward(upstream: aiohttp.ClientWebSocketResponse, receive: Receive) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("bytes") is not None:
            await upstream.send_bytes(message["bytes"])
        else:
            await upstream.send_str(message["text"])
    await upstream.close(code=_sendable(message.get("code")), message=(message.get("reason") or "").encode())


async def _downward(upstream: aiohttp.ClientWebSocketResponse, send: Send) -> None:
    reason = ""
    while (message := await upstream.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        kind = "text" if message.type is aiohttp.WSMsgType.TEXT else "bytes"
        await send({"type": "websocket.send", kind: message.data})
    if message.type is aiohttp.WSMsgType.CLOSE:
        reason = message.extra or ""
    await send({"type": "websocket.close", "code": _sendable(upstream.close_code), "reason": reason})


def _sendable(code: int | None) -> int:
    return _NORMAL if code is None or code in _UNSAID else code


async def refuse_websocket(scope: Scope, send: Send, status: int, headers: RawHeaders, body: bytes) -> None:
    """Answer the handshake with a status, where the server can; else it says 403 by itself."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [pair for pair in headers if pair[0] != b"content-length"]  # servers add it; older ones a second time
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": 1008})
