"""One request as logs, tags and expressions see it, whichever side of it we are on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshlib._engine.local_replies import is_grpc
from meshlib._http import HeadersView, RequestHead
from meshlib.telemetry.fields import NO_FIELDS, as_headers, body_length, grpc_status

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange
    from meshlib._engine.recording import Served

__all__ = ["Facts", "exchange_facts", "served_facts", "served_flags"]


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
        self.response_headers: HeadersView = NO_FIELDS
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
    facts.flags = served_flags(served)
    facts.cluster = f"inbound|{head.port}||"
    facts.route = "default"
    facts.received = body_length(head.headers, 0)
    facts.sent = served.sent if served.sent >= 0 else max(body_length(facts.response_headers, 0), 0)
    facts.remote = served.source
    facts.local = f"{served.destination}:{head.port}" if served.destination else ""
    facts.peer = served.peer
    facts.request_id = served.request_id or head.headers.get("x-request-id", "")
    facts.request_principal = served.request_principal
    facts.span = served.span
    return facts


def served_flags(served: Served) -> tuple[str, ...]:
    """Envoy's flags of a served request. Policies and tokens that refuse it set none (semantics 7.5)."""
    if served.details.startswith("ext_authz"):
        return ("UAEX",)
    return ("DC",) if served.status == 0 and served.decision != "deny" else ()
