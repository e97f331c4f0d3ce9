"""Envoy's attributes of a request, read from its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from meshlib.telemetry.fields import head_size

if TYPE_CHECKING:
    from meshlib.telemetry.facts import Facts

__all__ = ["ATTRIBUTES", "MAPS", "ExpressionError"]


class ExpressionError(Exception):
    """A value is not there, or not of the kind that is needed."""


def _known(read: Callable[[Facts], Any]) -> Callable[[Facts], Any]:
    """What is empty when it is not known is an error then."""

    def known(facts: Facts) -> Any:
        value = read(facts)
        if value is None or value == "":
            raise ExpressionError("the attribute has no value")
        return value

    return known


def _header(name: str) -> Callable[[Facts], Any]:
    return _known(lambda facts: facts.headers.get(name))


def _address(facts: Facts) -> str:
    return facts.upstream if facts.is_outbound else facts.local


def _port(address: str) -> int | None:
    text = address.rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() else None


ATTRIBUTES: Final[Mapping[str, Callable[[Facts], Any]]] = {
    "request.path": lambda facts: facts.head.path,
    "request.url_path": lambda facts: facts.head.path_only,
    "request.host": lambda facts: facts.head.authority,
    "request.scheme": lambda facts: facts.head.scheme,
    "request.method": lambda facts: facts.head.method,
    "request.headers": lambda facts: facts.headers,
    "request.referer": _header("referer"),
    "request.useragent": _header("user-agent"),
    "request.id": _known(lambda facts: facts.request_id),
    "request.time": lambda facts: datetime.fromtimestamp(facts.ended - facts.duration, UTC),
    "request.protocol": lambda facts: facts.protocol,
    "request.query": lambda facts: facts.head.query,
    "request.duration": lambda facts: timedelta(seconds=facts.duration),
    "request.size": lambda facts: facts.received,
    "request.total_size": lambda facts: facts.received + head_size(facts.headers),
    "response.code": _known(lambda facts: facts.status or None),
    "response.code_details": _known(lambda facts: facts.details),
    "response.grpc_status": _known(lambda facts: int(facts.grpc_status) if facts.grpc_status else None),
    "response.headers": lambda facts: facts.response_headers,
    "response.size": lambda facts: facts.sent,
    "response.total_size": lambda facts: facts.sent + head_size(facts.response_headers),
    "source.address": _known(lambda facts: facts.remote),
    "source.port": _known(lambda facts: _port(facts.remote)),
    "destination.address": _known(_address),
    "destination.port": _known(lambda facts: _port(_address(facts)) or facts.head.port or None),
    "connection.mtls": lambda facts: bool(facts.peer),
    "connection.requested_server_name": _known(lambda facts: facts.server_name),
    "connection.uri_san_peer_certificate": _known(lambda facts: facts.peer),
    "upstream.address": _known(lambda facts: facts.upstream),
    "upstream.port": _known(lambda facts: _port(facts.upstream)),
    "upstream.transport_failure_reason": _known(lambda facts: facts.failure),
    "upstream.request_attempt_count": lambda facts: facts.attempts,
    "xds.cluster_name": _known(lambda facts: facts.cluster),
    "xds.route_name": _known(lambda facts: facts.route),
}
"""By name; each raises ExpressionError where the request has no such value."""

MAPS: Final = frozenset({"request.headers", "response.headers"})
"""Attributes with keys of their own."""
