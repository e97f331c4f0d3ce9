"""Envoy's attributes of a request, read from its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from meshlib._http import Headers
from meshlib.telemetry.fields import head_size

if TYPE_CHECKING:
    from meshlib.telemetry.facts import Facts

__all__ = ["ATTRIBUTES", "MAPS", "ExpressionError"]


_FLAGS: Final = "LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO"
_BITS: Final[Mapping[str, int]] = {flag: 1 << bit for bit, flag in enumerate(_FLAGS.split())}
"""Envoy's response flags by their number."""


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


def _upstream(read: Callable[[Facts], Any]) -> Callable[[Facts], Any]:
    """What there is as soon as an endpoint was asked."""

    def found(facts: Facts) -> Any:
        if not facts.attempts:
            raise ExpressionError("the request did not leave")
        return read(facts)

    return found


def _request_headers(facts: Facts) -> Headers:
    """As HTTP/2 has them, and Envoy: method, path and authority are fields like others; Host is another name of it."""
    head, found = facts.head, Headers(facts.headers)
    found["host"] = facts.authority
    for name, value in (("method", head.method), ("path", facts.path), ("authority", facts.authority)):
        found[f":{name}"] = value
    found[":scheme"] = found.get("x-forwarded-proto") or head.scheme
    return found


def _flags(facts: Facts) -> int:
    """The sum of Envoy's numbers of the response flags."""
    return sum(_BITS.get(flag, 0) for flag in facts.flags)


def _backend_latency(facts: Facts) -> timedelta | None:
    return None if facts.upstream_duration is None else timedelta(seconds=facts.upstream_duration)


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
    "request.headers": _request_headers,
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
    "response.flags": _flags,
    "response.backend_latency": _known(_backend_latency),
    "response.size": lambda facts: facts.sent,
    "response.total_size": lambda facts: facts.sent + head_size(facts.response_headers),
    "source.address": _known(lambda facts: facts.remote),
    "source.port": _known(lambda facts: _port(facts.remote)),
    "destination.address": _known(_address),
    "destination.port": _known(lambda facts: _port(_address(facts)) or facts.head.port or None),
    "connection.mtls": lambda facts: bool(facts.peer),
    "connection.requested_server_name": _known(lambda facts: facts.server_name),
    "connection.termination_details": _known(lambda _facts: None),
    "connection.uri_san_peer_certificate": _known(lambda facts: facts.peer),
    "upstream.address": _known(lambda facts: facts.upstream),
    "upstream.port": _known(lambda facts: _port(facts.upstream)),
    "upstream.transport_failure_reason": _upstream(lambda facts: "_".join(facts.failure.split())),
    "upstream.request_attempt_count": lambda facts: facts.attempts,
    "xds.cluster_name": _known(lambda facts: facts.cluster),
    "xds.route_name": _known(lambda facts: facts.route),
}
"""By name; each raises ExpressionError where the request has no such value."""

MAPS: Final = frozenset({"request.headers", "response.headers"})
"""Attributes with keys of their own."""
