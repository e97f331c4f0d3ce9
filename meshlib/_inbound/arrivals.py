"""What an adapter says of a request, what it gets back, and what is made of the one for the other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from meshlib._engine.decisions import Decision
from meshlib._http import Headers, RequestHead
from meshlib._inbound.forwarded import XFCC
from meshlib._inbound.heads import PlainHead
from meshlib._inbound.inbound import Inbound
from meshlib._inbound.targets import Reading, shadows_of
from meshlib._snapshot.inbound import InboundRequest, address_text
from meshlib._snapshot.peers import PEER_HEADERS

__all__ = [
    "Admitted",
    "Arrival",
    "Refused",
    "changed_headers",
    "client_text",
    "hide_peer_headers",
    "other_reading",
    "refusal",
]


class Arrival(msgspec.Struct, kw_only=True):
    """What a server knows of a request.

    ``peer`` is the SPIFFE id in the verified certificate of the connection (None:
    without), ``source_address`` and ``destination_address`` its two ends.
    ``server_name`` is what the client named in its TLS handshake (None: the server cannot
    tell). ``target_authority`` is the host in the request target, where that is a whole URL.
    ``merges_slashes``: the application may read paths in another way, as some with several slashes, behind the
    ``prefix`` under which it is mounted.
    """

    head: RequestHead
    source_address: str = ""
    destination_address: str = ""
    peer: str | None = None
    has_tls: bool = False
    server_name: str | None = None
    protocol: str = "http"
    target_authority: str = ""
    merges_slashes: bool = False
    prefix: str = ""


class Admitted(msgspec.Struct, kw_only=True):
    """The request may go on. ``headers`` None: as they came; ``path`` None: as it came.

    ``response_headers`` are added to the application's answer.
    """

    inbound: Inbound
    response_headers: tuple[tuple[str, str], ...] = ()
    headers: Headers | None = None
    path: str | None = None


class Refused(msgspec.Struct, kw_only=True):
    """What the client gets in place of the application's answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]


def other_reading(
    arrival: Arrival, request: InboundRequest, decision: Decision, reading: Reading
) -> InboundRequest | None:
    """The request that the application may take an allowed one for; that must be allowed too."""
    if not arrival.merges_slashes or not decision.allowed:
        return None
    path = arrival.head.path if decision.path is None else decision.path
    prefix = arrival.prefix if path.startswith(arrival.prefix) else ""
    read = reading(path[len(prefix) :])
    if read is None:
        return None
    path = f"{prefix}{read}"
    head = arrival.head
    return InboundRequest(
        head.changed(path, head.headers),
        port=request.port,
        peer=request.peer,
        source=request.source,
        remote=request.remote,
        destination=request.destination,
        sni=request.sni,
    )


def changed_headers(head: RequestHead, decision: Decision) -> Headers | None:
    """The headers for the application; None if they are those of the head."""
    removed = [name for name in decision.remove_headers if head.values(name)]
    if not isinstance(head, PlainHead):  # a proxy that is trusted may pass on what its clients send
        given = [name for name, _ in decision.set_headers]
        removed += shadows_of(head.headers, {XFCC, *decision.remove_headers, *given})
    if not removed and not decision.set_headers:
        return None
    changed = Headers(head.headers)
    for name in removed:
        changed.popall(name, None)
    for name, value in decision.set_headers:
        changed[name] = value
    return changed


def hide_peer_headers(head: RequestHead, own: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Take what the caller says of itself out of the request, before policies see it; what it is told in return."""
    told = [name for name in PEER_HEADERS if name in head.headers]
    head.headers = headers = Headers(head.headers)
    for name in told:
        headers.popall(name)
    return tuple((name, own[name]) for name in told if name in own)


def client_text(request: InboundRequest, arrival: Arrival) -> str:
    return arrival.source_address if request.remote is None else _address_text(request.remote)


_address_text = lru_cache(maxsize=4096)(address_text)


def _header_text(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def refusal(decision: Decision, *, is_told_why: bool) -> Refused:
    """What the client gets of a decision that lets nobody in."""
    headers = decision.headers
    if decision.body and not any(name == "content-type" for name, _ in headers):
        headers = (*headers, ("content-type", "text/plain"))
    if is_told_why:
        headers = (
            *headers,
            ("x-meshlib-policy", decision.policy or "-"),
            ("x-meshlib-reason", _header_text(decision.reason)),
        )
    headers = (*headers, ("content-length", str(len(decision.body))))
    return Refused(status=decision.status, body=decision.body, headers=headers)
