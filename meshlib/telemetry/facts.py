"""One request as logs, tags and expressions see it, whichever side of it we are on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from multidict import CIMultiDict, CIMultiDictProxy, istr

from meshlib._engine.exchange import Exchange
from meshlib._engine.local_replies import is_grpc
from meshlib._engine.recording import Served
from meshlib._http import Headers, HeadersView, RequestHead

__all__ = ["Facts", "Fields", "as_headers", "body_length", "exchange_facts", "grpc_status", "head_size", "served_facts"]

Fields: TypeAlias = HeadersView | Iterable[tuple[str, str]] | Iterable[tuple[str | bytes, str | bytes]]
"""Header fields as client and server libraries have them."""

_CONTENT_LENGTH: Final = istr("content-length")
_GRPC_STATUS: Final = istr("grpc-status")


class Facts:
    """What is known of a request when it is over.

    Durations are seconds: ``duration`` of all of it, ``head_duration`` to the response's
    head, ``upstream_duration`` of the last attempt to its head (None: there was none).
    ``received`` and ``sent`` are the bytes of the request's and the response's body.
    Unknown texts are empty. ``peer`` is the SPIFFE id of the other end as far as verified.
    """

    __slots__ = (
        "attempts", "cluster", "details", "duration", "ended", "failure", "flags", "head", "head_duration", "headers",
        "is_outbound", "local", "path", "peer", "protocol", "received", "remote", "request_id", "request_principal",
        "response_headers", "route", "sent", "server_name", "span", "status", "upstream", "upstream_duration",
    )  # fmt: skip

    def __init__(self, head: RequestHead, headers: HeadersView, *, is_outbound: bool) -> None:
        self.head = head
        self.headers = headers
        self.is_outbound = is_outbound
        self.path = head.path
        self.status = 0
        self.response_headers: HeadersView = _NONE
        self.duration = self.head_duration = self.ended = 0.0
        self.upstream_duration: float | None = None
        self.flags: tuple[str, ...] = ()
        self.details = self.failure = ""
        self.route = self.cluster = self.upstream = ""
        self.received = self.sent = 0
        self.attempts = 0
        self.local = self.remote = self.peer = self.server_name = ""
        self.request_id = self.request_principal = ""
        self.protocol = "HTTP/1.1"
        self.span: Any = None

    @property
    def is_grpc(self) -> bool:
        """Whether it is gRPC by its content type."""
        return is_grpc(self.head)

    @property
    def grpc_status(self) -> str:
        """The number of ``grpc-status``; empty without one."""
        return grpc_status(self.response_headers)

    def __repr__(self) -> str:
        side = "outbound" if self.is_outbound else "inbound"
        return f"<Facts {side} {self.head.method} {self.path} {self.status}>"


_NONE: Final[Headers] = Headers()


def exchange_facts(exchange: Exchange) -> Facts:
    """A call made, which is over."""
    facts = Facts(exchange.request, exchange.headers, is_outbound=True)
    clock, response = exchange.published.clock, exchange.response_headers
    now = clock.monotonic()
    facts.path = exchange.sent_path
    facts.status = exchange.status
    facts.response_headers = as_headers(response)
    facts.duration = now - exchange.started
    facts.head_duration = exchange.responded - exchange.started
    facts.ended = clock.time()
    facts.flags = exchange.flags
    facts.details = exchange.details
    facts.failure = exchange.failure
    facts.attempts = exchange.attempts
    facts.route = exchange.route.name if exchange.route is not None else ""
    facts.cluster = exchange.live.cluster.name if exchange.live is not None else ""
    if exchange.attempts:
        facts.upstream = exchange.endpoint.key if exchange.endpoint is not None else exchange.request.authority
        if not isinstance(response, tuple):
            facts.upstream_duration = exchange.responded - exchange.attempt_started
    facts.received = body_length(exchange.headers, 0)
    facts.sent = exchange.received
    if not isinstance(response, tuple):
        facts.sent = max(body_length(response, exchange.received), 0)
    facts.request_id = exchange.headers.get("x-request-id", "")
    facts.span = exchange.trace
    return facts


def served_facts(served: Served) -> Facts:
    """A request served, which is over."""
    head = served.head
    facts = Facts(head, head.headers, is_outbound=False)
    facts.status = served.status
    facts.response_headers = as_headers(served.response_headers)
    facts.duration = facts.head_duration = served.ended - served.started
    facts.ended = served.time
    facts.details = served.details or ("via_upstream" if served.decision == "allow" else "")
    facts.flags = ("DC",) if served.status == 0 and served.decision == "allow" else ()
    facts.cluster = f"inbound|{head.port}||"
    facts.route = "default"
    facts.received = body_length(head.headers, 0)
    facts.sent = served.sent if served.sent >= 0 else max(body_length(facts.response_headers, 0), 0)
    facts.remote, facts.local = served.source, served.destination
    facts.peer = served.peer
    facts.request_id = served.request_id or head.headers.get("x-request-id", "")
    facts.request_principal = served.request_principal
    facts.span = served.span
    return facts


def as_headers(fields: Fields) -> HeadersView:
    """The fields of a response as one mapping, whoever made them: ASGI has them as bytes."""
    if isinstance(fields, CIMultiDict | CIMultiDictProxy):
        return fields
    pairs = [(_text(name), _text(value)) for name, value in fields]
    return Headers(pairs) if pairs else _NONE


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def body_length(headers: Any, otherwise: int) -> int:
    """What Content-Length says of the body; ``otherwise`` without one, or with nonsense."""
    text = headers.get(_CONTENT_LENGTH)
    if text is None:
        return otherwise
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else otherwise


def head_size(headers: Any) -> int:
    """About the bytes of a head on the wire: its fields and its first line."""
    pairs: Iterable[tuple[str, str]] = headers.items() if hasattr(headers, "items") else headers
    return sum(len(name) + len(value) + 4 for name, value in pairs) + 16


def grpc_status(headers: Fields) -> str:
    """The number of ``grpc-status``; empty without one, and for what is none."""
    status: str = as_headers(headers).get(_GRPC_STATUS, "")
    return status if status.isascii() and status.isdigit() and len(status) <= 2 else ""
