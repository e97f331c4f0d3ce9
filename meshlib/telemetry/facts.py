"""One request as logs, tags and expressions see it, whichever side of it we are on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from multidict import istr

from meshlib._engine.jwt_locations import without_tokens
from meshlib._engine.local_replies import GRPC_STATUS_OF_HTTP, OVERFLOW_DETAILS, is_grpc
from meshlib._http import Headers, HeadersView, RequestHead
from meshlib.telemetry.fields import NO_FIELDS, Fields, as_headers, body_length

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange
    from meshlib._engine.recording import Served

__all__ = [
    "Facts",
    "exchange_facts",
    "grpc_status",
    "received_bytes",
    "sent_bytes",
    "served_bytes",
    "served_facts",
    "served_flags",
    "upstream",
]


_ORIGINAL_PATH: Final = istr("x-envoy-original-path")
_GRPC_STATUS: Final = istr("grpc-status")
_GRPC_UNKNOWN: Final = 2


class Facts:
    """What is known of a request when it is over.

    Durations are seconds: ``duration`` of all of it, ``head_duration`` to the response's
    head, ``upstream_duration`` of the last attempt to its head (None: there was none).
    ``received`` and ``sent`` are the bytes of the request's and the response's body.
    ``path`` and ``authority`` are as the upstream sees them, ``original_path`` as it was before a rewrite.
    Unknown texts are empty. ``peer`` is the SPIFFE id of the other end as far as verified.
    """

    __slots__ = (
        "attempts", "authority", "cluster", "details", "duration", "ended", "failure", "flags", "head",
        "head_duration", "headers", "is_outbound", "local", "original_path", "path", "peer", "protocol", "received",
        "remote", "request_id", "request_principal", "response_headers", "route", "sent", "server_name", "span",
        "status", "upstream", "upstream_duration",
    )  # fmt: skip

    def __init__(self, head: RequestHead, headers: HeadersView, *, is_outbound: bool) -> None:
        self.head = head
        self.headers = headers
        self.is_outbound = is_outbound
        self.authority = head.authority
        self.path = head.path
        self.original_path = headers.get(_ORIGINAL_PATH, "")
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
        """The number of the status of gRPC; empty without one, and where the request is none of gRPC."""
        return grpc_status(self.response_headers, self.status) if self.is_grpc else ""

    def __repr__(self) -> str:
        side = "outbound" if self.is_outbound else "inbound"
        return f"<Facts {side} {self.head.method} {self.path} {self.status}>"


def exchange_facts(exchange: Exchange) -> Facts:
    """A call made, which is over."""
    facts = Facts(exchange.request, exchange.headers, is_outbound=True)
    clock, response = exchange.published.clock, exchange.response_headers
    now = clock.monotonic()
    facts.path = exchange.sent_path
    facts.authority = exchange.sent_authority
    facts.status = exchange.status
    facts.response_headers = as_headers(response)
    facts.duration = now - exchange.started
    facts.head_duration = exchange.responded - exchange.started
    facts.ended = clock.time()
    facts.flags = exchange.flags
    facts.details = exchange.details
    facts.failure = exchange.failure
    facts.attempts = _counted(exchange)
    facts.route = exchange.route.name if exchange.route is not None else ""
    facts.cluster = exchange.live.cluster.name if exchange.live is not None else ""
    facts.upstream = upstream(exchange)
    if exchange.attempts and not isinstance(response, tuple):
        facts.upstream_duration = exchange.responded - exchange.attempt_started
    facts.received = received_bytes(exchange)
    facts.sent = sent_bytes(exchange)
    facts.request_id = exchange.headers.get("x-request-id", "")
    facts.span = exchange.trace
    return facts


def upstream(exchange: Exchange) -> str:
    """Where the last attempt went; empty: there was none."""
    if not exchange.attempts:
        return ""
    return exchange.endpoint.key if exchange.endpoint is not None else exchange.request.authority


def received_bytes(exchange: Exchange) -> int:
    """Those of the request's body, as far as its head says."""
    return body_length(exchange.headers, 0) if exchange.attempts else 0


def sent_bytes(exchange: Exchange) -> int:
    """Those of the response's body."""
    response, received = exchange.response_headers, exchange.received
    return received if isinstance(response, tuple) else max(body_length(response, received), 0)


def _counted(exchange: Exchange) -> int:
    """Attempts as Envoy counts them: with the one for which there was no endpoint or no room."""
    if "UH" in exchange.flags:
        return exchange.attempts + 1
    return exchange.attempts or int("UO" in exchange.flags)


def served_facts(served: Served) -> Facts:
    """A request served, which is over."""
    head = _passed_on(served)
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
    facts.sent = served_bytes(served)
    facts.remote = served.source
    facts.local = f"{served.destination}:{head.port}" if served.destination else ""
    facts.peer = served.peer
    facts.request_id = served.request_id or head.headers.get("x-request-id", "")
    facts.request_principal = served.request_principal
    facts.span = served.span
    return facts


def _passed_on(served: Served) -> RequestHead:
    """The request as the application got it, as Envoy's log has it, but without any token.

    What a client says in a header for claims is not there, also where it was refused; what
    the token says is.
    """
    head, verdict = served.head, served.verdict
    rules = served.snapshot.security.authentication
    if rules is None and (verdict is None or not verdict.set_headers):
        return head
    headers, path = Headers(head.headers), head.path
    for name in () if rules is None else rules.output_headers:
        headers.popall(name, None)
    if verdict is not None:
        path = verdict.path or path
        for name in verdict.remove_headers:
            headers.popall(name, None)
        headers.update(verdict.set_headers)
    if rules is not None:
        path = without_tokens(rules, headers, path)
    return head.changed(path, headers)


def served_bytes(served: Served) -> int:
    """Those of the response's body."""
    return served.sent if served.sent >= 0 else body_length(as_headers(served.response_headers), 0)


def served_flags(served: Served) -> tuple[str, ...]:
    """Envoy's flags of a served request. Policies and tokens that refuse it set none (semantics 7.5)."""
    if served.details.startswith("ext_authz"):
        return ("UAEX",)
    if served.details == OVERFLOW_DETAILS:
        return ("UO",)
    return ("DC",) if served.status == 0 and served.decision != "deny" else ()


def grpc_status(headers: Fields, status: int) -> str:
    """The number of ``grpc-status``, else what gRPC makes of an HTTP status that is none of its own.

    Empty for a 200 without one: it may stand in trailers that the library does not show.
    """
    text: str = as_headers(headers).get(_GRPC_STATUS, "")
    if text:
        return text if text.isascii() and text.isdigit() and len(text) <= 2 else ""
    return "" if status in (0, 200) else str(GRPC_STATUS_OF_HTTP.get(status, _GRPC_UNKNOWN))
