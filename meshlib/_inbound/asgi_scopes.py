"""Requests as they arrive by ASGI, from its words into the mesh's: connection, head, and what tells equal ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from meshlib._http import Headers, RequestHead
from meshlib._inbound.arrivals import Arrival
from meshlib._inbound.certificates import identity_of, identity_of_tls, server_name_of_tls
from meshlib._inbound.heads import PlainHead, text_of
from meshlib._inbound.inbound import Inbound
from meshlib._inbound.memory import Grant, Key, Memory
from meshlib._inbound.shapes import REQUEST_ID, Shape
from meshlib._inbound.targets import agreed_path

__all__ = ["Connection", "again_head", "again_scope", "arrival_of", "connection_of", "key_of"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
Fields: TypeAlias = dict[bytes, bytes]

_SCHEMES: Final = {"ws": "http", "wss": "https"}

Connection: TypeAlias = tuple[str, bool, str | None, str | None]
"""The address of the direct peer; whether there is TLS, the identity verified by it, and the server name in it."""


def key_of(scope: Scope, fields: Fields, connection: Connection, memory: Memory) -> Key:
    """All of a request that decides, as it came."""
    get = scope.get
    server = get("server")
    if type(server) is list:  # ASGI allows it, and lists are no part of keys
        server = tuple(server)
    query = get("query_string") if memory.has_query else None
    values = tuple(map(fields.get, memory.names))
    raw, path, paths = get("raw_path"), scope["path"], memory.paths
    if paths is not None:
        known = paths.known.get(raw)
        if known is None or known[0] != path:
            known = paths.find(raw, path)
        if known is not None:
            raw, path = None, known[1]
    return connection, server, get("method"), get("scheme"), raw, path, query, values


def _again_headers(fields: Fields, grant: Grant, request_id: str | None) -> list[tuple[bytes, bytes]]:
    """The headers for the application."""
    dropped = grant.dropped
    headers = [pair for pair in fields.items() if pair[0] not in dropped]
    headers += grant.given
    if request_id is not None:
        headers = [pair for pair in headers if pair[0] != REQUEST_ID]
        headers.append((REQUEST_ID, request_id.encode()))
    return headers


def again_scope(scope: Scope, grant: Grant, fields: Fields, shape: Shape, inbound: Inbound) -> Scope:
    """What the application gets of a request that is let in as an equal one was."""
    changed = dict(scope)
    changed["mesh"] = inbound
    has_id = fields.get(REQUEST_ID)
    if grant.given or not has_id or not shape.names.isdisjoint(grant.dropped):
        changed["headers"] = _again_headers(fields, grant, None if has_id else inbound.request_id)
    return changed


def arrival_of(scope: Scope, connection: Connection, plain: tuple[Fields, Shape] | None) -> Arrival:
    """What is known of a request. ``plain`` None: its names have no plain shape, or one of them several values."""
    method: str = scope.get("method", "GET")  # a websocket begins with GET
    scheme: str = scope.get("scheme", "http")
    scheme = _SCHEMES.get(scheme, scheme)
    path = agreed_path(text_of(scope.get("raw_path") or b""), scope["path"])
    query = scope.get("query_string", b"")
    if query:
        path = f"{path}?{text_of(query)}"
    server = scope.get("server") or ("", None)
    source, has_tls, identity, server_name = connection
    port = server[1] or 0
    head: RequestHead
    if plain is not None:
        fields, shape = plain
        head = PlainHead(method, scheme, text_of(fields.get(b"host", b"")), path, port, fields, shape)
    else:
        headers = Headers([(text_of(name), text_of(value)) for name, value in scope["headers"]])
        head = RequestHead(method, scheme, headers.get("host", ""), path, headers, port=port)
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


def connection_of(scope: Scope, receive: Receive, send: Send) -> Connection:
    """What is known of the connection of a request.

    The address is that of the connection itself where it can be seen: uvicorn may have put
    into ``scope["client"]`` what a header of the client says (``--proxy-headers``). TLS is
    what the ASGI extension says where the server has it, else the connection itself.
    """
    owner = getattr(receive, "__self__", None)
    transport = None if owner is None else getattr(owner, "transport", None)  # uvicorn's
    if transport is None and hasattr(send, "__self__"):
        transport = _hypercorns(send)
    extensions = scope.get("extensions")
    if transport is None:
        name, tls, server_name = scope.get("client"), None, None
    else:
        name = transport.get_extra_info("peername")
        if not isinstance(name, tuple) or not name:
            name = scope.get("client")
        tls = transport.get_extra_info("ssl_object")
        server_name = None if tls is None else server_name_of_tls(tls)
    source = str(name[0]) if name else ""
    if extensions and (extension := extensions.get("tls")) is not None:
        chain = extension.get("client_cert_chain") or ()
        return source, True, identity_of(chain[0]) if chain else None, server_name
    if tls is None:
        return source, False, None, None
    return source, True, identity_of_tls(tls), server_name


def _hypercorns(send: Send) -> Any:
    """The connection behind hypercorn's ``send``: of the stream, its protocol, its connection; None: it is another's.

    It has ``get_extra_info``, as of asyncio. No release of uvicorn, hypercorn or gunicorn shows the client's
    certificate to applications, but what they hand them belongs to the object that holds the connection.
    """
    owner = getattr(send, "__self__", None)
    for _ in range(3):
        owner = getattr(getattr(owner, "send", None), "__self__", None)
        writer = getattr(owner, "writer", None)
        if writer is not None:
            return writer
    return None


def again_head(scope: Scope, grant: Grant, fields: Fields, shape: Shape) -> PlainHead:
    """The head of a request that is let in as an equal one was."""
    known, query = grant.head, scope.get("query_string", b"")
    path = agreed_path(text_of(scope.get("raw_path") or b""), scope["path"])
    if query:
        path = f"{path}?{text_of(query)}"
    return PlainHead(known.method, known.scheme, known.authority, path, known.port, fields, shape)
