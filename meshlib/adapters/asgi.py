"""ASGI: FastAPI, Starlette, Litestar, Quart, Django and whatever else speaks it.

``app.add_middleware(MeshMiddleware, mesh=mesh)``. Pure ASGI: bodies, websockets and the
lifespan pass untouched. Be the outermost middleware, so that nothing runs before the
policies of the mesh have been asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from meshlib._http import Headers, RequestHead
from meshlib._inbound.certificates import identity_of, identity_of_tls, server_name_of_tls
from meshlib._inbound.forbidden import forbid_in_asgi
from meshlib._inbound.gate import Admitted, Arrival, Gate, HasRuntime, Refused
from meshlib._inbound.heads import AgainHead
from meshlib._inbound.memory import Grant, Key, Memory
from meshlib._inbound.passage import Passage
from meshlib._inbound.shapes import REQUEST_ID, Shape, shape_of
from meshlib._inbound.targets import agreed_path

__all__ = ["MeshMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_SCHEMES: Final = {"ws": "http", "wss": "https"}
_NOTHING: Final[dict[str, Any]] = {}


class MeshMiddleware:
    """Applies the policies of the mesh to every request and websocket before ``app`` sees it.

    ``mesh`` is a :class:`meshlib.Mesh`. ``health_paths`` are answered by the
    application whatever the policies say, as Istio lets probes through.
    ``trusted_proxies`` are addresses or blocks whose X-Forwarded-For and
    X-Forwarded-Client-Cert are believed (default: nobody's); from all others the
    latter is removed. ``debug_headers`` names the deciding policy to the client.

    The application finds what was verified in ``scope["mesh"]``, a
    :class:`meshlib.Inbound`.
    """

    def __init__(
        self,
        app: App,
        mesh: HasRuntime,
        *,
        health_paths: Collection[str] = (),
        trusted_proxies: Iterable[str] = (),
        debug_headers: bool = False,
    ) -> None:
        self.app = app
        self._gate = Gate(
            mesh.runtime,
            health_paths=health_paths,
            trusted_proxies=trusted_proxies,
            debug_headers=debug_headers,
            forbid=forbid_in_asgi,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, websocket or lifespan, as ASGI has it."""
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        gate = self._gate
        connection = _connected(scope, receive, send)
        memory = key = None
        pairs = scope["headers"]
        if kind == "http" and type(pairs) is list:
            fields = dict(pairs)
            shape = shape_of(tuple(fields))
            if shape.is_plain and len(fields) == len(pairs):
                memory = gate.memory
                key = _key(scope, fields, connection, memory)
                grant = memory.find(key, gate.now(), gate.keys)
                if grant is not None:
                    await self._serve_again(scope, receive, send, grant, memory, fields, shape)
                    return
        arrival = _arrival(scope, connection)
        body = _Body(receive)
        with Passage(gate) as passage:
            verdict = await passage.admit_async(arrival, body.read, memory, key)
            if isinstance(verdict, Refused):
                await _refuse(scope, receive, send, verdict)
                return
            started = passage.watch_start(send)
            if verdict.response_headers:
                started = _adding(started, verdict.response_headers)
            await self.app(_admitted_scope(scope, verdict), body.receive, started)

    async def _serve_again(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        grant: Grant,
        memory: Memory,
        fields: dict[bytes, bytes],
        shape: Shape,
    ) -> None:
        """A request that is let in as an equal one was."""
        gate = self._gate
        passage = Passage(gate)
        try:
            head = None
            if gate.is_watched or memory.ports is not None:
                head = AgainHead(grant.head, fields, scope.get("query_string", b""))
            inbound = passage.admit_again(grant, gate.runtime.published.snapshot, fields, shape, head)
            if head is not None and memory.ports is not None:
                refused = await passage.sit_async(head)
                if refused is not None:
                    await _refuse(scope, receive, send, refused)
                    return
            changed = dict(scope)
            changed["mesh"] = inbound
            has_id = fields.get(REQUEST_ID)
            if grant.given or not has_id or not shape.names.isdisjoint(grant.dropped):
                changed["headers"] = _again(fields, grant, None if has_id else inbound.request_id)
            started = passage.watch_start(send)
            await self.app(changed, receive, _adding(started, passage.told) if passage.told else started)
        finally:
            passage.end()


Connection: TypeAlias = tuple[str, bool, str | None, str | None]
"""The address of the direct peer; whether there is TLS, the identity verified by it, and the server name in it."""


def _key(scope: Scope, fields: dict[bytes, bytes], connection: Connection, memory: Memory) -> Key:
    """All of a request that decides, as it came."""
    server = scope.get("server")
    return (
        connection,
        server if server is None else tuple(server),
        scope.get("method"),
        scope.get("scheme"),
        scope.get("raw_path"),
        scope["path"],
        scope.get("query_string") if memory.has_query else None,
        *map(fields.get, memory.names),
    )


def _again(fields: dict[bytes, bytes], grant: Grant, request_id: str | None) -> list[tuple[bytes, bytes]]:
    """The headers for the application."""
    dropped = grant.dropped
    headers = [pair for pair in fields.items() if pair[0] not in dropped]
    headers += grant.given
    if request_id is not None:
        headers = [pair for pair in headers if pair[0] != REQUEST_ID]
        headers.append((REQUEST_ID, request_id.encode()))
    return headers


def _arrival(scope: Scope, connection: Connection) -> Arrival:
    headers = _headers(scope["headers"])
    scheme: str = scope.get("scheme", "http")
    path = agreed_path(_text(scope.get("raw_path") or b""), scope["path"])
    query = scope.get("query_string", b"")
    server = scope.get("server") or ("", None)
    source, has_tls, identity, server_name = connection
    head = RequestHead(
        scope.get("method", "GET"),  # a websocket begins with GET
        _SCHEMES.get(scheme, scheme),
        headers.get("host", ""),
        f"{path}?{_text(query)}" if query else path,
        headers,
        port=server[1] or 0,
    )
    return Arrival(
        head=head,
        source_address=source,
        destination_address=server[0] or "",
        peer=identity,
        has_tls=has_tls or head.scheme == "https",
        server_name=server_name,
        protocol=scope["type"],
        merges_slashes=True,
    )


def _connected(scope: Scope, receive: Receive, send: Send) -> Connection:
    """What is known of the connection of a request.

    The address is that of the connection itself where it can be seen: uvicorn may have put
    into ``scope["client"]`` what a header of the client says (``--proxy-headers``). TLS is
    what the ASGI extension says where the server has it, else the connection itself.
    """
    transport = _transport(receive, send)
    name = tls = server_name = None
    if transport is not None:
        name = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        server_name = None if tls is None else server_name_of_tls(tls)
    if not isinstance(name, tuple) or not name:
        name = scope.get("client")
    source = str(name[0]) if name else ""
    extension = (scope.get("extensions") or _NOTHING).get("tls")
    if extension is not None:
        chain = extension.get("client_cert_chain") or ()
        return source, True, identity_of(chain[0]) if chain else None, server_name
    if tls is None:
        return source, False, None, None
    return source, True, identity_of_tls(tls), server_name


def _transport(receive: Receive, send: Send) -> Any:
    """The connection behind a request, where it can be found: with ``get_extra_info``, as of asyncio.

    No release of uvicorn, hypercorn or gunicorn shows the client's certificate to
    applications, but what they hand them belongs to the object that holds the connection.
    """
    owner = getattr(receive, "__self__", None)
    if owner is not None:
        transport = getattr(owner, "transport", None)  # uvicorn's
        if transport is not None:
            return transport
    owner = getattr(send, "__self__", None)  # hypercorn: the stream, its protocol, its connection
    for _ in range(3):
        if owner is None:
            return None
        owner = getattr(getattr(owner, "send", None), "__self__", None)
        writer = getattr(owner, "writer", None)
        if writer is not None:
            return writer
    return None


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
    try:
        return Headers([(name.decode(), value.decode()) for name, value in pairs])
    except UnicodeDecodeError:
        return Headers([(_text(name), _text(value)) for name, value in pairs])


def _text(value: bytes) -> str:
    """Bytes that are no UTF-8 keep their value, so that they compare as they do in Envoy and go on unchanged."""
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _admitted_scope(scope: Scope, admitted: Admitted) -> Scope:
    changed = dict(scope)
    changed["mesh"] = admitted.inbound
    if admitted.headers is not None:
        changed["headers"] = [(_bytes(name.lower()), _bytes(value)) for name, value in admitted.headers.items()]
    if admitted.path is not None:
        raw, _, query = admitted.path.partition("?")
        changed["raw_path"], changed["query_string"] = _bytes(raw), _bytes(query)
        changed["path"] = unquote(raw)
    return changed


def _adding(send: Send, added: tuple[tuple[str, str], ...]) -> Send:
    """The server's send, with more headers at the beginning of the response."""
    pairs = [(_bytes(name), _bytes(value)) for name, value in added]

    async def adding(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message = {**message, "headers": [*message.get("headers", ()), *pairs]}
        await send(message)

    return adding


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    headers = [(_bytes(name), _bytes(value)) for name, value in refused.headers]
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": refused.body})
        return
    await receive()  # the handshake: nothing can be answered before
    if "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [pair for pair in headers if pair[0] != b"content-length"]  # servers add it; older ones a second time
        await send({"type": "websocket.http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": refused.body})
    else:
        await send({"type": "websocket.close", "code": 1008})  # the server answers 403


class _Body:
    """The body of a request, of which a policy may need the beginning before the application reads it."""

    __slots__ = ("_receive", "_seen")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._seen: list[Message] = []

    async def read(self, limit: int) -> bytes:
        """The first ``limit`` bytes (one more, if there are more); the application still gets all of it."""
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            message = await self._receive()
            self._seen.append(message)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        return b"".join(parts)[: limit + 1]

    @property
    def receive(self) -> Receive:
        """What the application calls: the server's own, unless something was read already."""
        return self._replay if self._seen else self._receive

    async def _replay(self) -> Message:
        return self._seen.pop(0) if self._seen else await self._receive()
