"""The attributes of spans: OpenTelemetry's stable names for HTTP, and the tags of Envoy and Istio (semantics 7.6).

Queries and user information of URLs are left out: they may hold secrets. What the spans of
one side have in common is put together once for each pair of destination and result: most
spans only add what is the request's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from multidict import istr
from opentelemetry.trace import Span, Status, StatusCode

from meshlib._engine.local_replies import is_grpc
from meshlib._http import Failure, RequestHead
from meshlib._snapshot.routes import Route
from meshlib._snapshot.snapshot import bare_host
from meshlib._snapshot.telemetry import CustomTag, Telemetry, Tracing
from meshlib.telemetry.facts import grpc_status, received_bytes, sent_bytes, served_bytes, served_flags, upstream
from meshlib.telemetry.fields import body_length
from meshlib.telemetry.log_format import Line, compile_text
from meshlib.telemetry.operations import operation
from meshlib.telemetry.peers import canonical_revision, canonical_service
from meshlib.telemetry.span_writer import complete
from meshlib.telemetry.texts import writable

if TYPE_CHECKING:
    from meshlib._engine.attempts import Attempts
    from meshlib._engine.exchange import Exchange
    from meshlib._engine.recording import Served
    from meshlib._http import Outcome
    from meshlib.telemetry.facts import Facts
    from meshlib.telemetry.tracing import Recorded
    from meshlib.workload import Workload

__all__ = ["SpanTags", "attempt_tags", "first_tags"]

Tags: TypeAlias = dict[str, "str | int"]

_KNOWN_METHODS: Final = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE QUERY".split())
_REMEMBERED: Final = 1024
_AGENT, _REQUEST_ID = istr("user-agent"), istr("x-request-id")


def attempt_tags(exchange: Attempts, outcome: Outcome) -> Tags:
    """One attempt: which, where, and what came back."""
    tags: Tags = {"http.request.resend_count": exchange.attempts - 1}
    if exchange.endpoint is not None:
        tags["network.peer.address"] = exchange.endpoint.endpoint.address
        tags["network.peer.port"] = exchange.endpoint.endpoint.port
    if isinstance(outcome, Failure):
        tags["error.type"] = outcome.kind.value
    else:
        tags["http.response.status_code"] = outcome.status
    return tags


def first_tags(head: RequestHead) -> Tags:
    """What all requests to a host have in common and samplers may look at."""
    tags: Tags = {
        "http.request.method": head.method,
        "server.address": writable(bare_host(head.authority)),
        "server.port": head.port,
    }
    if head.method not in _KNOWN_METHODS:
        tags["http.request.method"] = "_OTHER"
        tags["http.request.method_original"] = writable(head.method[:64])
    return tags


class _Common(NamedTuple):
    """The name of a span and the tags that it shares with all of its ``route``."""

    route: Route | None
    name: str
    tags: Tags


class _Side:
    """What the spans of one side have in common under one publish."""

    __slots__ = ("custom", "fixed", "met", "settings")

    def __init__(self, settings: Tracing, istio: Mapping[str, str]) -> None:
        self.settings = settings
        self.custom = tuple((tag.name, _source(tag)) for tag in settings.tags)
        self.fixed: Tags = {"component": "proxy", "http.protocol": "HTTP/1.1", "network.protocol.version": "1.1"}
        if settings.istio_tags:
            self.fixed.update(istio)
        self.met: dict[object, _Common] = {}

    def remember(self, key: object, common: _Common) -> _Common:
        """Keep it for the spans that have ``key`` in common too."""
        if len(self.met) >= _REMEMBERED:
            self.met.clear()
        self.met[key] = common
        return common


class SpanTags:
    """The attributes of spans of one mesh."""

    def __init__(self, workload: Workload) -> None:
        self._istio = {
            "istio.canonical_service": canonical_service(workload.labels, workload.name),
            "istio.canonical_revision": canonical_revision(workload.labels),
            "istio.namespace": workload.namespace,
            "istio.cluster_id": workload.cluster,
        }
        self._sides: dict[int, _Side] = {}

    def finish_call(self, recorded: Recorded, exchange: Exchange, facts: Facts | None, telemetry: Telemetry) -> None:
        """A call made. ``facts`` are for custom tags: not None where there are any."""
        request, headers, route, status = exchange.request, exchange.headers, exchange.route, exchange.status
        side = self._side(telemetry.client_tracing, telemetry.mesh_id)
        address = upstream(exchange)
        key = (
            id(route), exchange.live, address, status, exchange.flags, request.method, request.authority, request.port
        )  # fmt: skip
        common = side.met.get(key)
        if common is None or common.route is not route:
            common = side.remember(key, _common_of_call(side, exchange, address))
        tags = common.tags.copy()
        tags["url.full"] = writable(recorded.url)
        tags["guid:x-request-id"] = writable(headers.get(_REQUEST_ID, "-"))
        tags["request_size"] = str(received_bytes(exchange))
        tags["response_size"] = str(sent_bytes(exchange))
        _add_url_and_agent(tags, request, recorded.url, headers.get(_AGENT), side.settings.path_length)
        if exchange.attempts > 1:
            tags["http.request.resend_count"] = exchange.attempts - 1
        if is_grpc(request):
            _add_grpc(tags, request, grpc_status(exchange.response_headers, status))
        if side.custom:
            _add_custom(tags, side, facts)
        complete(recorded.span, common.name, tags)
        if status < 100 or status >= 400:
            _set_failed(recorded.span, status, exchange.failure, exchange.details)

    def finish_request(self, recorded: Recorded, served: Served, facts: Facts | None, telemetry: Telemetry) -> None:
        """A request served. ``facts`` are for custom tags: not None where there are any."""
        head, headers, status = served.head, served.head.headers, served.status
        side = self._side(telemetry.server_tracing, telemetry.mesh_id)
        key = (head.port, status, served_flags(served), head.method, head.authority)
        common = side.met.get(key)
        if common is None:
            common = side.remember(key, _common_of_request(side, served, telemetry))
        tags = common.tags.copy()
        tags["url.scheme"], tags["url.path"] = head.scheme, writable(head.path_only)
        tags["guid:x-request-id"] = writable(served.request_id or headers.get(_REQUEST_ID, "-"))
        tags["request_size"] = str(body_length(headers, 0))
        tags["response_size"] = str(served_bytes(served))
        _add_url_and_agent(tags, head, recorded.url, headers.get(_AGENT), side.settings.path_length)
        if served.source:
            tags["client.address"] = tags["peer.address"] = tags["network.peer.address"] = served.source
        if is_grpc(head):
            _add_grpc(tags, head, grpc_status(served.response_headers, status))
        if served.dry_runs and side.settings.istio_tags:
            _add_dry_runs(tags, served)
        if side.custom:
            _add_custom(tags, side, facts)
        complete(recorded.span, common.name, tags)
        if status < 100 or status >= 500:
            _set_failed(recorded.span, status, "", served.details)

    def _side(self, settings: Tracing, mesh_id: str) -> _Side:
        side = self._sides.get(id(settings))
        if side is None or side.settings is not settings:
            if len(self._sides) >= 8:
                self._sides.clear()
            side = self._sides[id(settings)] = _Side(settings, {**self._istio, "istio.mesh_id": mesh_id})
        return side


def _add_dry_runs(tags: Tags, served: Served) -> None:
    """What policies in dry run would have said (``istio.io/dry-run``)."""
    for result in served.dry_runs:
        name = f"istio.authorization.dry_run.{result.action}_policy"
        tags[f"{name}.result"] = "denied" if result.is_denied else "allowed"
        if result.policy:
            tags[f"{name}.name"] = result.id


def _common_of_call(side: _Side, exchange: Exchange, address: str) -> _Common:
    request = exchange.request
    cluster = exchange.live.cluster.name if exchange.live is not None else ""
    tags = _common_tags(side, request, exchange.status, exchange.flags, cluster=cluster)
    if address:
        tags["upstream_address"] = tags["peer.address"] = address
    return _Common(exchange.route, writable(operation(exchange.route, request.authority)), tags)


def _common_of_request(side: _Side, served: Served, telemetry: Telemetry) -> _Common:
    head = served.head
    own = telemetry.services.get(head.port) or next(iter(telemetry.services.values()), None)
    name = own.host if own is not None else bare_host(head.authority)
    tags = _common_tags(side, head, served.status, served_flags(served), cluster=f"inbound|{head.port}||")
    return _Common(None, writable(f"{name}:{head.port}/*"), tags)


def _common_tags(side: _Side, head: RequestHead, status: int, flags: tuple[str, ...], *, cluster: str) -> Tags:
    """What is the same for all requests with that result; a missing value is ``-``, as in Envoy."""
    tags = side.fixed | first_tags(head)
    tags["http.method"] = writable(head.method)
    tags["http.status_code"] = str(status)
    tags["response_flags"] = ",".join(flags) or "-"
    if status:
        tags["http.response.status_code"] = status
    if status == 0 or status >= 500:
        tags["error"] = "true"  # Envoy's tag is about 5xx and no response
    if cluster:
        tags["upstream_cluster"] = tags["upstream_cluster.name"] = cluster
    return tags


def _add_url_and_agent(tags: Tags, head: RequestHead, url: str, agent: str | None, longest_path: int) -> None:
    if len(head.path) > longest_path:
        url = f"{head.scheme}://{head.authority}{head.path_only[:longest_path]}"
    tags["http.url"] = writable(url)
    if agent:
        tags["user_agent"] = tags["user_agent.original"] = writable(agent)
    else:
        tags["user_agent"] = "-"


def _add_grpc(tags: Tags, head: RequestHead, status: str) -> None:
    tags["grpc.path"] = writable(head.path_only)
    tags["grpc.authority"] = writable(head.authority)
    tags["grpc.status_code"] = writable(status or "-")


def _add_custom(tags: Tags, side: _Side, facts: Facts | None) -> None:
    assert facts is not None
    for name, line in side.custom:
        value = line(facts)
        if value:
            tags[name] = writable(value)


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


def _set_failed(span: Span, status: int, failure: str, details: str) -> None:
    """Say so in OpenTelemetry's way, for which calls fail from 400 on and served requests from 500."""
    span.set_attribute("error.type", str(status) if status and not failure else details or "no response")
    span.set_status(Status(StatusCode.ERROR))
