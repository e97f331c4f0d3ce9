"""Requests as they arrive at a gateway, from ASGI's words into the mesh's."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from yarl import URL

from meshlib._http import WEBSOCKET_SCHEMES, RequestHead
from meshlib._inbound.certificates import identity_of_tls, server_name_of_tls
from meshlib._inbound.gate import Arrival
from meshlib._inbound.targets import split_target
from meshlib._snapshot.listeners import Forwards
from meshlib._snapshot.snapshot import bare_host
from meshlib.adapters.gateway.certificates import forwarded_certificate
from meshlib.adapters.gateway.client import Receive, Scope
from meshlib.adapters.gateway.headers import Hops, request_headers

__all__ = ["Connection", "arrival_of", "target_url"]


class Connection:
    """What is known of the connection of a request.

    From the connection itself where it can be seen: uvicorn puts into the scope what
    headers of the client say (its ``proxy_headers``, on by default for loopback).
    """

    __slots__ = ("port", "scheme", "source", "source_port", "tls")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        name: object = None if transport is None else transport.get_extra_info("peername")
        self.tls: Any = None if transport is None else transport.get_extra_info("ssl_object")
        if isinstance(name, tuple) and name:
            self.source, self.source_port = str(name[0]), int(name[1])
            self.scheme = "http" if self.tls is None else "https"
        else:
            scheme: str = scope.get("scheme", "http")
            self.source, self.source_port = scope.get("client") or ("", 0)
            self.scheme = WEBSOCKET_SCHEMES.get(scheme, scheme)
        self.port: int = (scope.get("server") or ("", None))[1] or 0


def arrival_of(scope: Scope, connection: Connection, hops: Hops, port: int, forwards: Forwards) -> Arrival:
    """What the policies are asked about: the request at the Gateway's server ``port``, as it goes on."""
    scheme, source, tls = connection.scheme, connection.source, connection.tls
    headers = request_headers(
        scope["headers"],
        source=source,
        scheme=scheme,
        hops=hops,
        certificate=forwarded_certificate(tls),
        forwards=forwards,
    )
    path, authority = split_target(_target(scope))
    query = scope.get("query_string", b"").decode("latin-1")
    if authority and len(headers.getall("host", ())) == 1:
        headers["host"] = authority  # that of the target counts (RFC 9112, 3.2.2)
    method = scope.get("method", "GET")  # a websocket begins with GET
    head = RequestHead(
        method,
        scheme,
        headers.get("host", ""),
        f"{path}?{query}" if query else path,
        headers,
        port=port,
    )
    return Arrival(
        head=head,
        source_address=source,
        destination_address=(scope.get("server") or ("",))[0] or "",
        peer=identity_of_tls(tls),
        has_tls=scheme == "https",
        server_name=server_name_of_tls(tls),
        protocol=scope["type"],
    )


def _target(scope: Scope) -> str:
    """The target as it was sent; bytes that cannot stand in a path are quoted."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return quote(raw, safe="".join(map(chr, range(33, 127))))


def target_url(head: RequestHead, target: str) -> URL | None:
    """Where the request goes, for the session: which endpoint that is, the mesh decides. None: nowhere."""
    path, _, query = target.partition("?")
    host = bare_host(head.authority).strip("[]")
    if not host or not path.startswith("/"):
        return None
    try:
        return URL.build(scheme="http", host=host, port=head.port, path=path, query_string=query, encoded=True)
    except ValueError:
        return None
