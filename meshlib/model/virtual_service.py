"""VirtualService: how requests for a host are routed.

Rules are tried in order and the first match wins; no match is a 404.
https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from meshlib.model.base import EMPTY, Maybe, Model, RuleError, Spec, at_most_one
from meshlib.model.destination import Destination, Percent, PortSelector
from meshlib.model.scalars import Base64, Duration, HttpStatus, Int32, NonNegativeInt32, PercentInt, PortOrZero, UInt32
from meshlib.model.selectors import Labels
from meshlib.model.strings import StringMatch

__all__ = [
    "Abort",
    "CorsPolicy",
    "Delay",
    "Delegate",
    "Destination",
    "HTTPBody",
    "HTTPDirectResponse",
    "HTTPFaultInjection",
    "HTTPMatchRequest",
    "HTTPMirrorPolicy",
    "HTTPRedirect",
    "HTTPRetry",
    "HTTPRewrite",
    "HTTPRoute",
    "HTTPRouteDestination",
    "HeaderOperations",
    "Headers",
    "L4MatchAttributes",
    "Percent",
    "PortSelector",
    "RegexRewrite",
    "RouteDestination",
    "TCPRoute",
    "TLSMatchAttributes",
    "TLSRoute",
    "VirtualServiceSpec",
]


class HTTPMatchRequest(Model, frozen=True, kw_only=True):
    """Conditions on a request; all of them must hold, and the matches of a rule are alternatives.

    ``uri`` sees the path without query, ``ignore_uri_case`` for exact and prefix only.
    ``scheme``, ``method`` and ``authority`` respect case. ``headers`` and
    ``query_params`` need every named item; ``without_headers`` needs none of them to
    match. ``port`` is the port of the host that was called. ``source_labels``,
    ``source_namespace`` and ``gateways`` say for whom the match is at all.
    ``stat_prefix`` names statistics only.
    """

    name: Maybe[str] = None
    uri: Maybe[StringMatch] = None
    scheme: Maybe[StringMatch] = None
    method: Maybe[StringMatch] = None
    authority: Maybe[StringMatch] = None
    headers: Mapping[str, StringMatch] = EMPTY
    port: Maybe[PortOrZero] = None
    source_labels: Labels = EMPTY
    gateways: tuple[str, ...] = ()
    query_params: Mapping[str, StringMatch] = EMPTY
    ignore_uri_case: Maybe[bool] = None
    without_headers: Mapping[str, StringMatch] = EMPTY
    source_namespace: Maybe[str] = None
    stat_prefix: Maybe[str] = None


class HeaderOperations(Model, frozen=True, kw_only=True):
    """``remove`` names, then ``set`` (overwrite), then ``add`` (append) values."""

    set: Mapping[str, str] = EMPTY
    add: Mapping[str, str] = EMPTY
    remove: tuple[str, ...] = ()


class Headers(Model, frozen=True, kw_only=True):
    """Header operations on the request before it is sent, and on the response before it is returned."""

    request: Maybe[HeaderOperations] = None
    response: Maybe[HeaderOperations] = None


class HTTPRouteDestination(Model, frozen=True, kw_only=True):
    """One target of a route. ``weight`` is its share of the sum of weights; with one target it may be absent."""

    destination: Destination
    weight: Maybe[NonNegativeInt32] = None
    headers: Maybe[Headers] = None


class HTTPRedirect(Model, frozen=True, kw_only=True):
    """Answer with a redirect.

    ``uri`` replaces the whole path, ``prefix_rewrite`` the matched prefix. ``port`` is
    written into the Location, or derived from the scheme (``FROM_PROTOCOL_DEFAULT``)
    or the request. ``redirect_code`` is 301 if absent.
    """

    uri: Maybe[str] = None
    authority: Maybe[str] = None
    port: Maybe[PortOrZero] = None
    derive_port: Maybe[Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]] = None
    scheme: Maybe[str] = None
    redirect_code: Maybe[UInt32] = None
    prefix_rewrite: Maybe[str] = None

    def __post_init__(self) -> None:
        at_most_one(self, "port", "derive_port")


class HTTPBody(Model, frozen=True, kw_only=True):
    """A body as text (``string``) or as base64 (``bytes``)."""

    string: Maybe[str] = None
    bytes_: Maybe[Base64] = None

    def __post_init__(self) -> None:
        at_most_one(self, "string", "bytes_")

    @property
    def content(self) -> bytes:
        """The body as it is sent; empty if neither form is written."""
        return self.bytes_ if self.bytes_ is not None else (self.string or "").encode()


class HTTPDirectResponse(Model, frozen=True, kw_only=True):
    """Answer with a fixed ``status`` (200–599) and ``body``; nothing is sent upstream."""

    status: HttpStatus
    body: Maybe[HTTPBody] = None


class Delegate(Model, frozen=True, kw_only=True):
    """The VirtualService that holds the rest of the rule; ``namespace`` absent: that of the root."""

    name: Maybe[str] = None
    namespace: Maybe[str] = None


class RegexRewrite(Model, frozen=True, kw_only=True):
    r"""Replace what the RE2 expression ``match`` finds in the path; ``\1`` in ``rewrite`` is its first group."""

    match: Maybe[str] = None
    rewrite: Maybe[str] = None


class HTTPRewrite(Model, frozen=True, kw_only=True):
    """Change path (``uri`` or ``uri_regex_rewrite``) and Host header (``authority``) before sending."""

    uri: Maybe[str] = None
    authority: Maybe[str] = None
    uri_regex_rewrite: Maybe[RegexRewrite] = None


class HTTPRetry(Model, frozen=True, kw_only=True):
    """Retries of a route.

    ``attempts`` counts retries, not tries. ``per_try_timeout`` absent: the timeout of the
    route; ``backoff`` absent: 25 ms, doubled with jitter. ``retry_on`` is a comma-separated
    list of Envoy's conditions and status codes.
    """

    attempts: Maybe[NonNegativeInt32] = None
    per_try_timeout: Maybe[Duration] = None
    retry_on: Maybe[str] = None
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Maybe[Duration] = None


def check_fault_percentage(percentage: Percent | None) -> None:
    """Envoy counts faults in millionths: less than 0.0001 % would be none."""
    value = None if percentage is None else percentage.value
    if value is not None and 0 < value < 0.0001:
        raise RuleError(f"percentage {value} is neither 0.0, nor in range [0.0001, 100.0]", field="percentage")


class Delay(Model, frozen=True, kw_only=True):
    """Hold a request back for ``fixed_delay``. ``percentage`` absent (and no ``percent``): no request.

    ``exponential_delay`` is known to the API but supported by nobody; ``percent`` is the
    deprecated whole number.
    """

    percent: Maybe[Int32] = None
    fixed_delay: Maybe[Duration] = None
    exponential_delay: Maybe[Duration] = None
    percentage: Maybe[Percent] = None

    def __post_init__(self) -> None:
        at_most_one(self, "fixed_delay", "exponential_delay")
        check_fault_percentage(self.percentage)


class Abort(Model, frozen=True, kw_only=True):
    """Answer with ``http_status`` or ``grpc_status`` (a name or number). ``percentage`` absent: no request.

    ``http2_error`` is known to the API but supported by nobody.
    """

    http_status: Maybe[HttpStatus] = None
    grpc_status: Maybe[str] = None
    http2_error: Maybe[str] = None
    percentage: Maybe[Percent] = None

    def __post_init__(self) -> None:
        at_most_one(self, "http_status", "grpc_status", "http2_error")
        check_fault_percentage(self.percentage)


class HTTPFaultInjection(Model, frozen=True, kw_only=True):
    """Failures made on purpose: the delay comes first, then the abort, drawn independently."""

    delay: Maybe[Delay] = None
    abort: Maybe[Abort] = None


class HTTPMirrorPolicy(Model, frozen=True, kw_only=True):
    """A copy of the request to ``destination``, whose reply is dropped. ``percentage`` absent: every request."""

    destination: Destination
    percentage: Maybe[Percent] = None


class CorsPolicy(Model, frozen=True, kw_only=True):
    """Cross-origin rules.

    ``allow_origin`` is the deprecated list of exact origins. ``max_age`` is how long a
    preflight may be cached. ``unmatched_preflights`` absent: FORWARD.
    """

    allow_origin: tuple[str, ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Maybe[Duration] = None
    allow_credentials: bool | None = None
    unmatched_preflights: Maybe[Literal["UNSPECIFIED", "FORWARD", "IGNORE"]] = None


class HTTPRoute(Model, frozen=True, kw_only=True):
    """A rule for HTTP requests: its matches (none: every request) and one action.

    The action is ``route``, ``redirect``, ``direct_response`` or ``delegate``.
    ``timeout`` covers all attempts; absent: none. ``mirror`` with ``mirror_percentage`` is
    the older form of ``mirrors``; ``mirror_percent`` is the deprecated whole number, also
    under its first spelling ``mirror_percent`` in YAML.
    """

    name: Maybe[str] = None
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: Maybe[HTTPRedirect] = None
    direct_response: Maybe[HTTPDirectResponse] = None
    delegate: Maybe[Delegate] = None
    rewrite: Maybe[HTTPRewrite] = None
    timeout: Maybe[Duration] = None
    retries: Maybe[HTTPRetry] = None
    fault: Maybe[HTTPFaultInjection] = None
    mirror: Maybe[Destination] = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: PercentInt | None = None
    legacy_mirror_percent: PercentInt | None = msgspec.field(default=None, name="mirror_percent")
    mirror_percentage: Maybe[Percent] = None
    cors_policy: Maybe[CorsPolicy] = None
    headers: Maybe[Headers] = None

    def __post_init__(self) -> None:
        if self.legacy_mirror_percent is not None and self.mirror_percent is None:
            msgspec.structs.force_setattr(self, "mirror_percent", self.legacy_mirror_percent)


class L4MatchAttributes(Model, frozen=True, kw_only=True):
    """Conditions on a connection: destination and source subnets, port, source labels, gateways."""

    destination_subnets: tuple[str, ...] = ()
    port: Maybe[PortOrZero] = None
    source_subnet: Maybe[str] = None
    source_labels: Labels = EMPTY
    gateways: tuple[str, ...] = ()
    source_namespace: Maybe[str] = None


class TLSMatchAttributes(Model, frozen=True, kw_only=True):
    """Conditions on a TLS connection that is passed through; ``sni_hosts`` may begin with a wildcard."""

    sni_hosts: tuple[str, ...]
    destination_subnets: tuple[str, ...] = ()
    port: Maybe[PortOrZero] = None
    source_labels: Labels = EMPTY
    gateways: tuple[str, ...] = ()
    source_namespace: Maybe[str] = None


class RouteDestination(Model, frozen=True, kw_only=True):
    """One target of a TCP or TLS route."""

    destination: Destination
    weight: Maybe[NonNegativeInt32] = None


class TLSRoute(Model, frozen=True, kw_only=True):
    """A rule for TLS connections that are not terminated."""

    match: tuple[TLSMatchAttributes, ...]
    route: tuple[RouteDestination, ...] = ()


class TCPRoute(Model, frozen=True, kw_only=True):
    """A rule for connections that are opaque."""

    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualServiceSpec(Spec, frozen=True, kw_only=True):
    """Routing for ``hosts``, seen by the gateways named (absent: ``mesh``, the workloads themselves).

    ``export_to`` are the namespaces that see it: ``.`` this one, ``*`` all (the default).
    A spec without hosts is a delegate.
    """

    RULES: ClassVar[tuple[str, ...]] = ("http", "tls", "tcp")

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()
