"""Asks an external authorizer over HTTP, as Envoy's ext_authz filter does (semantics 6.5).

The check is a request of its own: method and path of the original (behind
``pathPrefix``), its Host, the headers that the provider lists, and its body if asked
for. 200 is a yes; 5xx, no answer in time or no connection is a failure; every other
status is a no, with the authorizer's own answer for the client.
"""

from __future__ import annotations

import http.client
import itertools
import time
from typing import Final
from urllib.parse import quote_from_bytes

from meshlib._engine.authz import AskAuthorizer, AuthorizerReply
from meshlib._http import HeadersView
from meshlib._snapshot.clusters import Endpoint
from meshlib._snapshot.security import Authorizer
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["ask_authorizer"]

_UNUSABLE: Final = AuthorizerReply(answer="unusable")
_UNAVAILABLE: Final = AuthorizerReply(answer="unavailable")
_LARGEST_BODY: Final = 1 << 20
_CHUNK: Final = 65536
_ALWAYS_SENT: Final = ("authorization",)  # as Envoy's HTTP client does
_ALWAYS_RETURNED: Final = ("www-authenticate", "location", "content-type")
_SENT_AS_IT_IS: Final = "".join(map(chr, range(0x21, 0x7F)))
_turns = itertools.count()


def ask_authorizer(snapshot: Snapshot, ask: AskAuthorizer, body: bytes) -> AuthorizerReply:
    """The authorizer's answer; blocks for at most its timeout. ``body`` is the beginning of the request's."""
    authorizer = ask.authorizer
    endpoint = _endpoint(snapshot, authorizer)
    if not authorizer.is_usable or endpoint is None:
        return _UNUSABLE if not authorizer.is_usable else _UNAVAILABLE
    if authorizer.body_limit and len(body) > authorizer.body_limit:
        if not authorizer.allows_partial_body:
            return AuthorizerReply(answer="deny", status=413, body=b"Payload Too Large")
        body = body[: authorizer.body_limit]
    head = ask.request.head
    headers = _check_headers(authorizer, head.headers)
    connection = http.client.HTTPConnection(endpoint.address, endpoint.port, timeout=authorizer.timeout)
    path = quote_from_bytes(_bytes(authorizer.path_prefix + head.path), _SENT_AS_IT_IS)
    try:
        connection.putrequest(head.method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in (("host", head.authority), *headers):
            connection.putheader(name, _bytes(value))
        connection.putheader("content-length", str(len(body)))
    except (http.client.HTTPException, ValueError):
        # Nobody was asked, and the client has seen to it: that is no outage, after which some let everybody in.
        return _UNUSABLE
    try:
        connection.endheaders(body)
        response = connection.getresponse()
        body = _read(response, time.monotonic() + authorizer.timeout)
        return _reply(authorizer, response.status, response.getheaders(), body)
    except (OSError, http.client.HTTPException, ValueError):
        return _UNAVAILABLE
    finally:
        connection.close()


def _bytes(text: str) -> bytes:
    """As it came: http.client takes text for Latin-1, and refuses most of it."""
    return text.encode("utf-8", "surrogateescape")


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The beginning of the body; an answer that drips in does not hold a request up for ever."""
    parts: list[bytes] = []
    size = 0
    while size < _LARGEST_BODY and (part := response.read1(_CHUNK)):
        if time.monotonic() > deadline:
            raise TimeoutError
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:_LARGEST_BODY]


def _endpoint(snapshot: Snapshot, authorizer: Authorizer) -> Endpoint | None:
    """One of the endpoints of the authorizer's service, each in turn."""
    cluster = snapshot.clusters.get(f"outbound|{authorizer.port}||{authorizer.host}")
    if cluster is None or not cluster.endpoints:
        return None
    return cluster.endpoints[next(_turns) % len(cluster.endpoints)]


def _check_headers(authorizer: Authorizer, headers: HeadersView) -> list[tuple[str, str]]:
    wanted = (*_ALWAYS_SENT, *authorizer.request_headers)
    sent = [(name, value) for name, value in headers.items() if _listed(name.lower(), wanted)]
    return [*sent, *authorizer.added_headers.items()]


def _listed(name: str, patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        if pattern.startswith("*"):
            if name.endswith(pattern[1:]):
                return True
        elif pattern.endswith("*"):
            if name.startswith(pattern[:-1]):
                return True
        elif name == pattern:
            return True
    return False


def _reply(authorizer: Authorizer, status: int, headers: list[tuple[str, str]], body: bytes) -> AuthorizerReply:
    if status >= 500:
        return _UNAVAILABLE
    lowered = [(name.lower(), value.encode("latin-1").decode("utf-8", "surrogateescape")) for name, value in headers]
    if status == 200:
        kept = tuple(pair for pair in lowered if _listed(pair[0], authorizer.upstream_headers))
        returned = tuple(pair for pair in lowered if _listed(pair[0], authorizer.allow_headers))
        return AuthorizerReply(answer="allow", headers=kept, response_headers=returned)
    wanted = (*_ALWAYS_RETURNED, *authorizer.deny_headers)
    kept = tuple(pair for pair in lowered if _listed(pair[0], wanted))
    return AuthorizerReply(answer="deny", status=status, headers=kept, body=body)
