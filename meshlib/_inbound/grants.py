"""What a request that is let in leaves behind for those that are equal to it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress

from meshlib._engine.decisions import Decision
from meshlib._http import NO_HEADERS, RequestHead
from meshlib._inbound.arrivals import Arrival, client_text
from meshlib._inbound.forwarded import XFCC
from meshlib._inbound.inbound import Verified
from meshlib._inbound.shapes import REQUEST_ID, Shape, Values
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.peers import PEER_HEADERS

__all__ = ["Grant", "Terms"]


class Grant:
    """What was decided of a request that was let in. ``dropped`` and ``given`` are fields as ASGI has them.

    ``is_quiet``: nothing is to be done for the next one but to let it in and to count it (no limits of the port, no
    policies in dry run). ``terms`` are those of the last shape that was let in: look there, then ask :meth:`terms_for`.
    """

    __slots__ = (
        "decision", "destination", "dropped", "given", "head", "is_quiet", "peer", "port", "since", "source", "terms",
        "until", "verified", "version",
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
        self.terms = Terms(self, Shape(()))

    def terms_for(self, shape: Shape) -> Terms:
        """The terms on which requests of a shape are let in; a client sends the same shape again."""
        terms = self.terms = Terms(self, shape)
        return terms

    def __repr__(self) -> str:
        return f"<Grant {self.head.method} {self.head.path_only} by {self.decision.policy or '-'}>"


class Terms:
    """How requests of one shape are let in by a grant: what follows from the two, found out once.

    ``is_quiet``: nothing is to be done but to let them in and to count them. ``keeps_all``: the application gets
    their headers as they came, with an id if they have none.
    """

    __slots__ = ("_kept", "grant", "is_quiet", "keeps_all", "shape")

    def __init__(self, grant: Grant, shape: Shape) -> None:
        self.grant = grant
        self.shape = shape
        self.is_quiet = shape.is_quiet and grant.is_quiet
        self._kept = [name not in grant.dropped for name in shape.names]
        self.keeps_all = all(self._kept) and not grant.given

    def headers(self, values: Values, request_id: str | None) -> list[tuple[bytes, bytes]]:
        """The headers for the application; ``request_id``: one that was made for the request."""
        headers = list(compress(zip(self.shape.names, values, strict=True), self._kept))
        headers += self.grant.given
        if request_id is not None:
            headers = [pair for pair in headers if pair[0] != REQUEST_ID]
            headers.append((REQUEST_ID, request_id.encode()))
        return headers

    def __repr__(self) -> str:
        return f"<Terms {self.grant!r} {self.shape!r}>"


def _raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
