"""Compiled routing: virtual hosts, routes and what a route does. Immutable once built.

Routes name clusters by key (``outbound|9080|v1|reviews.default.svc.cluster.local``);
the snapshot and the runtime state hold the clusters under the same keys, so that a
changed endpoint does not rebuild a route.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

from meshlib._http import RequestHead
from meshlib._snapshot.matchers import RouteMatch, TextMatcher, TextSubstitution
from meshlib._snapshot.route_index import RouteIndex

__all__ = [
    "Abort",
    "Action",
    "Cors",
    "Delay",
    "DirectResponse",
    "Dropped",
    "Fault",
    "Forward",
    "HashKey",
    "HeaderOps",
    "HeaderValue",
    "HostTable",
    "Mirror",
    "Origin",
    "Redirect",
    "RetryPolicy",
    "Rewrite",
    "Route",
    "RouteTable",
    "ServerNameTable",
    "VirtualHost",
    "WeightedDestination",
]


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a compiled thing was written: for explain and for errors."""

    resource: str
    field: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f" ({self.file}:{self.line})" if self.line else ""
        return f"{self.resource}{': ' + self.field if self.field else ''}{place}"


class HeaderValue(msgspec.Struct, frozen=True, gc=False):
    """A header value with Envoy's format operators resolved at compile time.

    ``parts`` alternates literals (str) and operators; a constant has one literal.
    An operator is a tuple such as ``("REQ", "x-user")``.
    """

    parts: tuple[str | tuple[str, ...], ...]


class HeaderOps(msgspec.Struct, frozen=True, gc=False):
    """One level of header operations, run as: all removes, all sets, all adds. Names in lower case, sorted."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, HeaderValue], ...] = ()
    add: tuple[tuple[str, HeaderValue], ...] = ()


class WeightedDestination(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One target of a route. ``levels`` are run in order; ``host_rewrite`` replaces the Host header.

    ``tells_host`` is whether the upstream then learns the Host header as it was.
    """

    cluster: str
    host: str
    port: int
    subset: str = ""
    weight: int = 1
    request_levels: tuple[HeaderOps, ...] = ()
    response_levels: tuple[HeaderOps, ...] = ()
    host_rewrite: str | None = None
    tells_host: bool = False


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Retries as data. ``attempts`` counts *re*-tries; durations in seconds.

    ``conditions`` are retryOn tokens, ``status_codes`` the codes among them; a retry
    waits uniformly in ``[0, min(backoff × 2^(n−1), 10 × backoff))``.
    """

    attempts: int
    conditions: frozenset[str]
    status_codes: frozenset[int] = frozenset()
    per_try_timeout: float | None = None
    backoff: float = 0.025
    avoid_previous_hosts: bool = True
    remote_localities: bool = False


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Change of the path before it is sent: ``path`` literally for the matched part, or a substitution.

    ``path`` replaces the first ``cut`` characters of the path, or the whole path if
    ``cut`` is None; the query always stays.
    """

    path: str | None = None
    cut: int | None = None
    regex: TextSubstitution | None = None
    substitution: str = ""


class Delay(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Wait ``seconds`` before the request goes on; ``ratio`` 0–1 of the requests."""

    seconds: float
    ratio: float


class Abort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Answer in place of the upstream; exactly one status is set; ``ratio`` 0–1 of the requests."""

    ratio: float
    http_status: int | None = None
    grpc_status: int | None = None


class Fault(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Injected failure: the delay first, then the abort, drawn independently."""

    delay: Delay | None = None
    abort: Abort | None = None


class Mirror(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A copy whose reply is dropped; ``ratio`` 0–1 of the requests."""

    cluster: str
    host: str
    port: int
    subset: str = ""
    ratio: float = 1.0


class HashKey(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a consistent hash depends on. ``ttl`` (seconds) is for cookies: None never issues one."""

    kind: Literal["header", "cookie", "source_ip", "query"]
    name: str = ""
    ttl: float | None = None
    path: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


class Cors(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A CORS policy. ``forward_unmatched`` is unmatchedPreflights FORWARD (the default)."""

    origins: tuple[TextMatcher, ...]
    methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: float | None = None
    credentials: bool = False
    forward_unmatched: bool = True


class Forward(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Send the request to one of the destinations.

    ``sums`` are the cumulative weights: one draw in ``[0, sums[-1])`` chooses.
    ``timeout`` in seconds over all attempts; None: no timeout.
    """

    destinations: tuple[WeightedDestination, ...]
    sums: tuple[int, ...]
    timeout: float | None = None
    retry: RetryPolicy | None = None
    rewrite: Rewrite | None = None
    fault: Fault | None = None
    cors: Cors | None = None
    mirrors: tuple[Mirror, ...] = ()
    hash_keys: tuple[HashKey, ...] = ()


class Redirect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Answer with a Location. ``port`` None keeps or strips the port by Envoy's rules (semantics 2.6).

    ``keep_port`` keeps the Host header whole, as a gateway's ``httpsRedirect`` does.
    """

    status: int = 301
    scheme: str | None = None
    authority: str | None = None
    port: int | Literal["request"] | None = None
    path: str | None = None
    prefix_rewrite: str | None = None
    prefix_cut: int = 0
    keep_port: bool = False
    response_levels: tuple[HeaderOps, ...] = ()


class DirectResponse(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Answer with a fixed status and body."""

    status: int
    body: bytes = b""
    response_levels: tuple[HeaderOps, ...] = ()


Action: TypeAlias = Forward | Redirect | DirectResponse


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A matcher and its action. ``name`` as Envoy logs it (``rule`` or ``rule.match``)."""

    match: RouteMatch
    action: Action
    name: str = ""
    origin: Origin = Origin("default")


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """A rule that a VirtualService has, but not for this workload or port: explain tells why.

    ``before`` is the number of routes that stand before it.
    """

    origin: Origin
    reason: str
    before: int = 0


class VirtualHost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Compiled routes for a set of host patterns. First match wins; none is 404 NR.

    ``index`` is there when the routes are many: it finds the first match without
    trying them all. ``dropped`` are the rules left out when this was compiled. ``is_http``
    is false for ports whose connections are routed as such.
    """

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    origin: Origin = Origin("default")
    index: RouteIndex[Route] | None = None
    dropped: tuple[Dropped, ...] = ()
    is_http: bool = True

    def match(self, request: RequestHead) -> Route | None:
        """The first route that matches."""
        if self.index is not None:
            return self.index.first(request)
        for route in self.routes:
            match = route.match
            if (match.uri is None and not match.predicates) or match.matches(request):
                return route
        return None


V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class HostTable(Generic[V]):
    """Values by host pattern, looked up as Envoy does.

    Exact names by dict; ``*.suffix`` by a dict of suffixes (``.suffix``), looked up
    from the longest; then ``*``. Host names are in lower case.
    """

    exact: dict[str, V] = field(default_factory=dict)
    suffixes: dict[str, V] = field(default_factory=dict)
    suffix_lengths: tuple[int, ...] = ()
    catch_all: V | None = None

    def find(self, host: str) -> V | None:
        """The value for a host name without its port."""
        found = self.exact.get(host)
        if found is not None:
            return found
        for length in self.suffix_lengths:
            # A wildcard stands for at least one character.
            if length < len(host) and (found := self.suffixes.get(host[-length:])) is not None:
                return found
        return self.catch_all


class RouteTable(HostTable[VirtualHost]):
    """The virtual hosts of one listener (one port), by host pattern."""

    __slots__ = ()


class ServerNameTable(HostTable[RouteTable]):
    """The route tables of one port of a gateway that speaks TLS, by server name (SNI)."""

    __slots__ = ()
