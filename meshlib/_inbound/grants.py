"""What a request that is let in leaves behind for those that are equal to it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from itertools import compress
from typing import Any, TypeAlias

from meshlib._engine.decisions import Decision
from meshlib._engine.request_headers import RequestIds
from meshlib._http import NO_HEADERS, RequestHead
from meshlib._inbound.arrivals import Arrival, client_text
from meshlib._inbound.forwarded import XFCC
from meshlib._inbound.inbound import Inbound, Verified
from meshlib._inbound.shapes import REQUEST_ID, Shape, Values
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.peers import PEER_HEADERS

__all__ = ["Grant", "Scope", "Terms"]

Scope: TypeAlias = MutableMapping[str, Any]


class Grant:
    """What was decided of a request that was let in. ``dropped`` and ``given`` are fields as ASGI has them.

    ``is_quiet``: nothing is to be done for the next one but to let it in and to count it (no limits of the port, no
    policies in dry run).
    """

    __slots__ = (
        "decision", "destination", "dropped", "given", "head", "is_quiet", "peer", "port", "since", "source", "until",
        "verified", "version",
    )  # fmt: skip

    def __init__(
        self,
        arrival: Arrival,
        request: InboundRequest,
        decision: Decision,
        *,
        version: int,
        keeps_xfcc: bool,
        forbid: Callable[[str], Exception] | None = None,
    ) -> None:
        self.decision = decision
        head = arrival.head
        self.head = RequestHead(  # without its headers: those of the next request are its own
            head.method, head.scheme, head.authority, head.path_only, NO_HEADERS, port=head.port, host=head.host
        )
        self.port, self.peer = head.port, request.peer
        self.is_quiet = False
        self.verified = Verified(decision, request.peer, client_text(request, arrival), forbid)
        self.source, self.destination = arrival.source_address, arrival.destination_address
        self.since, self.until, self.version = decision.since, decision.until, version
        set_names = [name for name, _ in decision.set_headers]
        dropped = (*decision.remove_headers, *set_names, *PEER_HEADERS, *(() if keeps_xfcc else (XFCC,)))
        self.dropped = frozenset(name.lower().encode() for name in dropped)
        self.given = [(name.lower().encode(), _raw(value)) for name, value in decision.set_headers]

    def __repr__(self) -> str:
        return f"<Grant {self.head.method} {self.head.path_only} by {self.decision.policy or '-'}>"


class Terms:
    """How requests of one shape are let in by a grant: what follows from the two, found out once.

    ``is_quiet``: nothing is to be done but to let them in and to count them. ``id_at`` is where the id of those stands
    of which the application gets the headers as they came; None: they lose or get some, or may get some (trailers)
    that nobody has decided about.
    """

    __slots__ = (
        "_kept", "grant", "id_at", "is_quiet", "peer", "port", "shape", "since", "until", "verified", "version",
    )  # fmt: skip

    def __init__(self, grant: Grant, shape: Shape) -> None:
        self.grant = grant
        self.shape = shape
        self.port, self.peer = grant.port, grant.peer
        self.since, self.until, self.version, self.verified = grant.since, grant.until, grant.version, grant.verified
        self.is_quiet = shape.is_quiet and grant.is_quiet
        self._kept = [name not in grant.dropped for name in shape.names]
        self.id_at = shape.id_at if all(self._kept) and not grant.given and not shape.has_trailers else None

    def let_in(self, inbound: Inbound, scope: Scope, values: Values, ids: RequestIds) -> Scope:
        """A request as the application gets it; ``inbound`` is made what it may know of it."""
        inbound._verified = self.verified
        inbound._claims = None
        inbound._handed_on = self.shape, values
        changed, at = {**scope}, self.id_at
        changed["mesh"] = inbound
        if at is not None and (raw := values[at]):
            inbound._request_id = raw
        else:
            at = self.shape.id_at
            own = b"" if at is None else values[at]
            made = "" if own else ids.next()
            inbound._request_id = made or own
            changed["headers"] = self._headers(values, made)
        return changed

    def _headers(self, values: Values, made: str) -> list[tuple[bytes, bytes]]:
        headers = list(compress(zip(self.shape.names, values, strict=True), self._kept))
        headers += self.grant.given
        if made:
            headers = [pair for pair in headers if pair[0] != REQUEST_ID]
            headers.append((REQUEST_ID, made.encode()))
        return headers

    def __repr__(self) -> str:
        return f"<Terms {self.grant!r} {self.shape!r}>"


def _raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
