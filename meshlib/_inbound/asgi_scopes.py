"""Requests as they arrive by ASGI, from its words into the mesh's: connection, head, and what tells equal ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import FunctionType
from typing import Any, Final, TypeAlias

from meshlib._http import WEBSOCKET_SCHEMES, Headers, RequestHead
from meshlib._inbound.arrivals import Arrival
from meshlib._inbound.asgi_roots import server_root
from meshlib._inbound.certificates import identity_of, identity_of_tls, server_name_of_tls
from meshlib._inbound.gate import Gate
from meshlib._inbound.grants import Scope, Terms
from meshlib._inbound.heads import PlainHead, text_of
from meshlib._inbound.memory import Asked, Connection, Key, Memory
from meshlib._inbound.shapes import Shape, Values
from meshlib._inbound.targets import agreed_path

__all__ = ["Receive", "Send", "again_head", "arrival_of", "connection_of", "recall"]

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

_NO_FIELDS: Final[tuple[tuple[bytes, ...], tuple[bytes, ...]]] = (), ()


def recall(
    scope: Scope, pairs: list[Any], receive: Receive, send: Send, gate: Gate, memory: Memory
) -> tuple[Asked, Values, Terms | None, Key | None]:
    """All of a request that decides, the values of its headers, and the terms that hold for an equal one.

    If there are none, what to keep it by, unless it is not worth that.
    """
    names, values = zip(*pairs) if pairs else _NO_FIELDS  # noqa: B905 - to be strict takes half as long again
    shape = memory.shapes.newer.get(names)
    if shape is None:
        shape = memory.shape_of(names)
    path, raw = scope["path"], scope.get("raw_path")
    known = memory.paths.known.get(raw)
    if known is None or known[0] != path:
        known = memory.paths.find(raw, path, scope.get("root_path", ""))
    place = known[1]
    connection: str | Connection
    if isinstance(receive, FunctionType) and isinstance(send, FunctionType) and "extensions" not in scope:
        client = scope.get("client")  # all that connection_of would find: it has nothing else to look at
        connection = str(client[0]) if client else ""
    else:
        connection = connection_of(scope, receive, send)
        if scope.get("root_path") and (root := server_root(scope, receive)):
            place = root  # of no remembered request: policies see another path
    decides, now, keys = shape.decides, gate.now, gate.keys
    key: Key | None = None
    query = scope.get("query_string") if memory.has_query else None
    try:
        asked: Asked = (
            connection, place, shape, decides(values), scope["server"], scope["method"], scope["scheme"], query,
        )  # fmt: skip
        terms = memory.terms.newer.get(asked)
        if terms is None:
            terms, key = memory.find(asked)
    except (KeyError, TypeError):  # ASGI lets servers leave some facts out, and show addresses as lists
        asked = connection, place, shape, decides(values), *_odd_facts(scope), query
        terms, key = memory.find(asked)
    if terms is not None:
        if terms.since <= now() <= terms.until and terms.version == keys.version:
            if keys.stale_at is None or not keys.are_stale():
                return asked, values, terms, None
        memory.terms.drop(asked)
        key = memory.key_of(asked)
    return asked, values, None, key


def _odd_facts(scope: Scope) -> tuple[object, object, object]:
    server = scope.get("server")
    return tuple(server) if isinstance(server, list) else server, scope.get("method"), scope.get("scheme")


def arrival_of(scope: Scope, connection: str | Connection, plain: tuple[Shape, Values] | None) -> Arrival:
    """What is known of a request. ``plain`` None: its names have no plain shape, or one of them several values."""
    method: str = scope.get("method", "GET")  # a websocket begins with GET
    scheme: str = scope.get("scheme", "http")
    scheme = WEBSOCKET_SCHEMES.get(scheme, scheme)
    path = agreed_path(text_of(scope.get("raw_path") or b""), scope["path"])
    query = scope.get("query_string", b"")
    if query:
        path = f"{path}?{text_of(query)}"
    server = scope.get("server") or ("", None)
    if isinstance(connection, str):
        connection = connection, False, None, None
    source, has_tls, identity, server_name = connection
    port = server[1] or 0
    head: RequestHead
    if plain is not None:
        shape, values = plain
        fields = shape.fields(values)
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
        prefix=scope.get("root_path", ""),
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
        chain = () if extension.get("client_cert_error") else extension.get("client_cert_chain") or ()
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


def again_head(scope: Scope, terms: Terms, values: Values) -> PlainHead:
    """The head of a request that is let in as an equal one was."""
    known, query = terms.grant.head, scope.get("query_string", b"")
    path = agreed_path(text_of(scope.get("raw_path") or b""), scope["path"])
    if query:
        path = f"{path}?{text_of(query)}"
    fields = terms.shape.fields(values)
    for name in terms.shape.peer:
        del fields[name.encode()]  # nobody is told, as of a request that is decided about
    return PlainHead(known.method, known.scheme, known.authority, path, known.port, fields, terms.shape)
