"""The attributes of spans: OpenTelemetry's stable names for HTTP, and the tags of Envoy and Istio (semantics 7.6).

Queries and user information of URLs are left out: they may hold secrets.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Span, Status, StatusCode

from meshlib._http import Failure, RequestHead
from meshlib._snapshot.routes import Route
from meshlib._snapshot.snapshot import bare_host
from meshlib._snapshot.telemetry import CustomTag, Tracing
from meshlib.telemetry.log_format import Line, compile_text
from meshlib.telemetry.operations import operation
from meshlib.telemetry.peers import canonical_revision, canonical_service

if TYPE_CHECKING:
    from meshlib._engine.attempts import Attempts
    from meshlib._engine.exchange import Exchange
    from meshlib._engine.recording import Served
    from meshlib._http import Outcome
    from meshlib.telemetry.facts import Facts
    from meshlib.workload import Workload

__all__ = ["SpanTags", "attempt_tags", "first_tags"]

_KNOWN_METHODS: Final = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE QUERY".split())
_OPERATIONS: Final = 4096


def first_tags(head: RequestHead, *, is_outbound: bool) -> dict[str, Any]:
    """What is known at the start, for samplers to look at."""
    is_known = head.method in _KNOWN_METHODS
    tags: dict[str, Any] = {
        "http.request.method": head.method if is_known else "_OTHER",
        "server.address": bare_host(head.authority),
        "server.port": head.port,
    }
    if not is_known:
        tags["http.request.method_original"] = head.method[:64]
    if is_outbound:
        tags["url.full"] = f"{head.scheme}://{head.authority}{head.path_only}"
    else:
        tags["url.scheme"], tags["url.path"] = head.scheme, head.path_only
    return tags


def attempt_tags(exchange: Attempts, outcome: Outcome) -> dict[str, Any]:
    """One attempt: which, where, and what came back."""
    tags: dict[str, Any] = {"http.request.resend_count": exchange.attempts - 1}
    if exchange.endpoint is not None:
        tags["network.peer.address"] = exchange.endpoint.endpoint.address
        tags["network.peer.port"] = exchange.endpoint.endpoint.port
    if isinstance(outcome, Failure):
        tags["error.type"] = outcome.kind.value
    else:
        tags["http.response.status_code"] = outcome.status
    return tags


class SpanTags:
    """Sets what is known at the end of a span."""

    def __init__(self, workload: Workload) -> None:
        self._istio = {
            "istio.canonical_service": canonical_service(workload.labels, workload.name),
            "istio.canonical_revision": canonical_revision(workload.labels),
            "istio.namespace": workload.namespace,
            "istio.cluster_id": workload.cluster,
        }
        self._operations: dict[tuple[int, str], tuple[Route | None, str]] = {}
        self._custom: dict[int, tuple[Tracing, tuple[tuple[str, Line], ...]]] = {}

    def finish_call(self, span: Span, exchange: Exchange, facts: Facts, settings: Tracing, mesh_id: str) -> None:
        """A call made."""
        span.update_name(self._operation(exchange.route, facts.head.authority))
        tags = self._common(facts, settings, mesh_id)
        if exchange.attempts > 1:
            tags["http.request.resend_count"] = exchange.attempts - 1
        if exchange.live is not None:
            tags["upstream_cluster"] = tags["upstream_cluster.name"] = exchange.live.cluster.name
        if facts.upstream:
            tags["upstream_address"] = tags["peer.address"] = facts.upstream
        span.set_attributes(tags)
        _set_status(span, facts, worst=400)

    def finish_request(self, span: Span, served: Served, facts: Facts, settings: Tracing) -> None:
        """A request served."""
        telemetry = served.snapshot.telemetry
        own = telemetry.services.get(served.head.port) or next(iter(telemetry.services.values()), None)
        name = own.host if own is not None else bare_host(served.head.authority)
        span.update_name(f"{name}:{served.head.port}/*")
        tags = self._common(facts, settings, telemetry.mesh_id)
        tags["upstream_cluster"] = tags["upstream_cluster.name"] = facts.cluster
        if served.source:
            tags["client.address"] = tags["peer.address"] = tags["network.peer.address"] = served.source
        span.set_attributes(tags)
        _set_status(span, facts, worst=500)

    def _common(self, facts: Facts, settings: Tracing, mesh_id: str) -> dict[str, Any]:
        """What both sides have; a missing value is ``-``, as in Envoy."""
        head = facts.head
        url = f"{head.scheme}://{head.authority}{head.path_only[: settings.path_length]}"
        agent = facts.headers.get("user-agent", "")
        tags: dict[str, Any] = {
            "component": "proxy",
            "guid:x-request-id": facts.request_id or "-",
            "http.url": url,
            "http.method": head.method,
            "http.protocol": facts.protocol,
            "http.status_code": str(facts.status),
            "user_agent": agent or "-",
            "request_size": str(facts.received),
            "response_size": str(facts.sent),
            "response_flags": ",".join(facts.flags) or "-",
            "network.protocol.version": facts.protocol.rpartition("/")[2],
        }
        if agent:
            tags["user_agent.original"] = agent
        if facts.status:
            tags["http.response.status_code"] = facts.status
        if facts.is_grpc:
            tags["grpc.path"] = head.path_only
            tags["grpc.authority"] = head.authority
            tags["grpc.status_code"] = facts.grpc_status or "-"
        if settings.istio_tags:
            tags.update(self._istio)
            tags["istio.mesh_id"] = mesh_id
        for name, line in self._prepared(settings):
            value = line(facts)
            if value:
                tags[name] = value
        return tags

    def _operation(self, route: Route | None, authority: str) -> str:
        key = (id(route), authority)
        known = self._operations.get(key)
        if known is not None and known[0] is route:
            return known[1]
        if len(self._operations) >= _OPERATIONS:
            self._operations.clear()
        name = operation(route, authority)
        self._operations[key] = (route, name)
        return name

    def _prepared(self, settings: Tracing) -> tuple[tuple[str, Line], ...]:
        """The custom tags of settings, prepared once."""
        if not settings.tags:
            return ()
        known = self._custom.get(id(settings))
        if known is not None and known[0] is settings:
            return known[1]
        made = tuple((tag.name, _source(tag)) for tag in settings.tags)
        if len(self._custom) >= 8:
            self._custom.clear()
        self._custom[id(settings)] = (settings, made)
        return made


def _source(tag: CustomTag) -> Line:
    """The value of a custom tag for a request; empty: the tag is left out."""
    default = tag.default
    match tag.source:
        case "literal":
            return lambda _facts: tag.value
        case "environment":
            value = os.environ.get(tag.value, default)
            return lambda _facts: value
        case "header":
            read = compile_text(f"%REQ({tag.value})%", omit_empty=True)
            return lambda facts: read(facts) or default
        case _:
            return compile_text(tag.value)


def _set_status(span: Span, facts: Facts, *, worst: int) -> None:
    """OpenTelemetry: calls fail from 400 on, served requests from 500; Envoy's tag is about 5xx and no response."""
    if facts.status == 0 or facts.status >= 500:
        span.set_attribute("error", "true")
    if facts.status == 0 or facts.status >= worst:
        kind = str(facts.status) if facts.status and not facts.failure else facts.details or "no response"
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))
