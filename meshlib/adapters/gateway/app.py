"""An ingress gateway as an ASGI application: ``MeshGateway(mesh)``.

Policies of the gateway workload are asked first, then what Gateway and VirtualService
resources say is applied, and the request goes on to the service that they name. Bodies
and websockets stream through; hop-by-hop headers end here (RFC 9110, 7.6.1).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from meshlib._context import Entered, entered
from meshlib._http import Headers
from meshlib._inbound.gate import Gate, Refused
from meshlib._inbound.passage import Passage
from meshlib._runtime import runtime_of
from meshlib.adapters.gateway.arrivals import Connection, arrival_of, target_url
from meshlib.adapters.gateway.client import Client, Message, Receive, Scope, Send
from meshlib.adapters.gateway.headers import (
    BODYLESS,
    Hops,
    asks_for_upgrade,
    can_be_sent,
    is_chunked_only,
    response_headers,
)
from meshlib.adapters.gateway.odd_answers import TOO_OLD, TOO_OLD_HEADERS, UNREADABLE, UNREADABLE_HEADERS, is_answer
from meshlib.adapters.gateway.websockets import Socket, refuse_websocket, stopping_at_redirects, tunnel
from meshlib.errors import MeshError

if TYPE_CHECKING:
    from meshlib._runtime import Runtime
    from meshlib.workload import Workload

__all__ = ["MeshGateway"]

_log = logging.getLogger("meshlib.gateway")

_AUTOMATIC: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
"""What aiohttp would add by itself: a gateway adds nothing that the client did not say."""


class Mesh(Protocol):
    """What the gateway needs of :class:`meshlib.Mesh`."""

    workload: Workload
    runtime: Runtime

    def aiohttp(self, *, raise_on_refusal: bool = ..., **arguments: Any) -> aiohttp.ClientSession:
        """A governed session."""
        ...


class MeshGateway:
    """An ASGI application that plays the ingress gateway of ``mesh``.

    The mesh must have been loaded for a gateway workload, whose labels select the
    Gateways: ``Mesh.load(…, workload=Workload(gateway=True, labels={"istio":
    "ingressgateway"}))``; else :class:`meshlib.errors.MeshError` is raised. ``port`` is
    the port of the Gateway server that requests enter; None: the port on which the
    process listens, or the only one of the Gateways if that has no server.
    """

    def __init__(self, mesh: Mesh, *, port: int | None = None) -> None:
        self._runtime = runtime_of(mesh, "MeshGateway")
        if not mesh.workload.gateway:
            raise MeshError(
                "the mesh was loaded for a workload that is no gateway; load it with "
                'workload=Workload(gateway=True, labels={"istio": "ingressgateway"})'
            )
        self._mesh = mesh
        self._port = port
        self._gate = _GatewayGate(self._runtime)
        self._sessions = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, aiohttp.ClientSession]]()
        self._is_closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, websocket or lifespan, as ASGI has it."""
        match scope["type"]:
            case "lifespan":
                await self._lifespan(receive, send)
            case "http" if scope.get("http_version") == "1.0":
                await _answer(scope, send, 426, TOO_OLD_HEADERS, TOO_OLD)
            case "http":
                async with Client(receive) as client:
                    await self._serve(scope, client, receive, send)
            case "websocket":
                await receive()  # the handshake of the client
                await self._serve(scope, None, receive, send)
            case _:
                message = f"meshlib's gateway does not speak {scope['type']!r}"
                raise NotImplementedError(message)

    async def aclose(self) -> None:
        """Close the connections of this event loop to the services. A server does that at its end, by the lifespan."""
        self._is_closed = True
        for session in self._sessions.pop(asyncio.get_running_loop(), {}).values():
            await session.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return
            self._is_closed = False
            await send({"type": "lifespan.startup.complete"})

    # -- one request -------------------------------------------------------------------------------

    async def _serve(self, scope: Scope, client: Client | None, receive: Receive, send: Send) -> None:
        gate = self._gate
        listeners = self._runtime.published.snapshot.listeners
        hops = gate.proxies = Hops(listeners.trusted_hops)
        connection = Connection(scope, receive)
        arrival = arrival_of(scope, connection, hops, self._server_port(connection), listeners.forwards)
        with Passage(gate) as passage:
            verdict = await passage.admit_async(arrival, _no_body if client is None else client.peek)
            if isinstance(verdict, Refused):
                await _answer(scope, send, verdict.status, _raw(verdict.headers), verdict.body)
                return
            if verdict.response_headers:
                send = _adding(send, _raw(verdict.response_headers))
            head = arrival.head
            headers = Headers(head.headers if verdict.headers is None else verdict.headers)
            url = target_url(head, verdict.path or head.path)
            inbound = verdict.inbound
            token = entered.set(
                Entered(
                    head.scheme,
                    arrival.server_name or "",
                    dict(inbound.claims) or None,
                    inbound.client_address,
                    connection.source_port if inbound.client_address == connection.source else 0,
                )
            )
            try:
                if url is None or not can_be_sent(headers):
                    await _answer(scope, send, 400, [], b"")
                elif client is not None and asks_for_upgrade(scope["headers"]):
                    await _answer(scope, send, 403, [], b"")
                elif not is_chunked_only(scope["headers"]):
                    await _answer(scope, send, 501, [], b"")
                elif client is None:
                    await tunnel(self._session("websocket"), url, headers, scope, receive, send)
                else:
                    await self._forward(url, head.method, headers, client, passage, send)
            finally:
                entered.reset(token)

    async def _forward(
        self, url: URL, method: str, headers: Headers, client: Client, passage: Passage, send: Send
    ) -> None:
        data = await client.data(headers.get("content-length"))
        request = self._session("http").request(
            method, url, headers=headers, data=data, allow_redirects=False, skip_auto_headers=_AUTOMATIC
        )
        async with request as response:
            send = passage.watch_start(send)
            if not is_answer(response.status):
                response.close()  # whatever follows is no HTTP
                await _answer({"type": "http"}, send, 502, UNREADABLE_HEADERS, UNREADABLE)
                return
            passage.status = response.status
            exchange: Any = getattr(response, "mesh", None)
            service_time = None
            if exchange is not None and exchange.details == "via_upstream":
                service_time = int((self._runtime.clock.monotonic() - exchange.attempt_started) * 1000)
            raw = response_headers(response.headers, service_time=service_time, status=response.status)
            if service_time is None and response.status not in BODYLESS and "content-length" not in response.headers:
                raw.append((b"content-length", b"%d" % len(await response.read())))
            await send({"type": "http.response.start", "status": response.status, "headers": raw})
            try:
                content, more = response.content, True
                while more:
                    part = await content.readany()
                    more = not content.at_eof()
                    await send({"type": "http.response.body", "body": part, "more_body": more})
            except (aiohttp.ClientPayloadError, OSError) as error:
                # The status has gone out: what is left is to end the connection, which the server does.
                _log.warning("%s %s broke off: %s", method, url.with_query(None), error)  # a query may hold a token

    def _server_port(self, connection: Connection) -> int:
        """The port of the Gateway's server: as told, as listened on, or the only one there is."""
        listeners, port = self._runtime.published.snapshot.listeners, connection.port
        if self._port is not None or port in listeners.plain or port in listeners.tls:
            return port if self._port is None else self._port
        ports = list(listeners.tls if connection.scheme == "https" else listeners.plain)
        return int(ports[0]) if len(ports) == 1 else port

    def _session(self, kind: Literal["http", "websocket"]) -> aiohttp.ClientSession:
        """The session of this event loop for requests or handshakes."""
        if self._is_closed:
            raise MeshError("this gateway was closed; make a new MeshGateway(mesh), or start its lifespan again")
        sessions = self._sessions.setdefault(asyncio.get_running_loop(), {})
        session = sessions.get(kind)
        if session is None:
            own: dict[str, Any] = {}
            if kind == "websocket":
                own = {"trace_configs": [stopping_at_redirects()], "skip_auto_headers": _AUTOMATIC}
            session = sessions[kind] = self._mesh.aiohttp(
                limit=0,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                ws_response_class=Socket,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                **own,
            )
        return session


class _GatewayGate(Gate):
    checks_peer = False


async def _no_body(_: int) -> bytes:
    return b""


def _adding(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """``send`` that adds the headers of an authorizer to the answer."""

    async def adding(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return adding


def _raw(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("utf-8", "surrogateescape")) for name, value in headers]


async def _answer(scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"server", b"istio-envoy")]
    if scope["type"] == "websocket":
        await refuse_websocket(scope, send, status, headers, body)
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
