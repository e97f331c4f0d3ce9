"""Compiled routing: virtual hosts, routes and what a route does. Immutable once built.

Routes name clusters by key (``outbound|9080|v1|reviews.default.svc.cluster.local``);
the snapshot and the runtime state hold the clusters under the same keys, so that a
changed endpoint does not rebuild a route.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from meshlib._http import RequestHead
from meshlib._snapshot.matchers import RouteMatch, TextMatcher

__all__ = [
    "Abort",
    "Action",
    "Cors",
    "Delay",
    "DirectResponse",
    "Fault",
    "Forward",
    "HashKey",
    "HeaderOps",
    "HeaderValue",
    "Mirror",
    "Origin",
    "Redirect",
    "RetryPolicy",
    "Rewrite",
    "Route",
    "RouteTable",
    "VirtualHost",
    "WeightedDestination",
]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a compiled thing was written: for explain and for errors."""

    resource: str
    field: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f" ({self.file}:{self.line})" if self.line else ""
        return f"{self.resource}{': ' + self.field if self.field else ''}{place}"


@dataclass(frozen=True, slots=True)
class HeaderValue:
    """A header value with Envoy's format operators resolved at compile time.

    ``parts`` alternates literals (str) and operators; a constant has one literal.
    An operator is a tuple such as ``("REQ", "x-user")``.
    """

    parts: tuple[str | tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class HeaderOps:
    """One level of header operations, run as: all removes, all sets, all adds. Names in lower case, sorted."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, HeaderValue], ...] = ()
    add: tuple[tuple[str, HeaderValue], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedDestination:
    """One target of a route. ``levels`` are run in order; ``host_rewrite`` replaces the Host header."""

    cluster: str
    host: str
    port: int
    subset: str = ""
    weight: int = 1
    request_levels: tuple[HeaderOps, ...] = ()
    response_levels: tuple[HeaderOps, ...] = ()
    host_rewrite: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Change of the path before it is sent: ``path`` literally for the matched part, or a regex substitution.

    ``matched`` tells what ``path`` replaces: the whole path, or its first ``cut`` characters.
    """

    path: str | None = None
    cut: int | None = None
    regex: object | None = None
    substitution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Wait ``seconds`` before the request goes on; ``ratio`` 0–1 of the requests."""

    seconds: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """Answer in place of the upstream; exactly one status is set; ``ratio`` 0–1 of the requests."""

    ratio: float
    http_status: int | None = None
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Injected failure: the delay first, then the abort, drawn independently."""

    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A copy whose reply is dropped; ``ratio`` 0–1 of the requests."""

    cluster: str
    host: str
    port: int
    subset: str = ""
    ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HashKey:
    """What a consistent hash depends on. ``ttl`` (seconds) is for cookies: None never issues one."""

    kind: Literal["header", "cookie", "source_ip", "query"]
    name: str = ""
    ttl: float | None = None
    path: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """A CORS policy. ``forward_unmatched`` is unmatchedPreflights FORWARD (the default)."""

    origins: tuple[TextMatcher, ...]
    methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: float | None = None
    credentials: bool = False
    forward_unmatched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Answer with a Location. ``port`` None keeps or strips the port by Envoy's rules (semantics 2.6)."""

    status: int = 301
    scheme: str | None = None
    authority: str | None = None
    port: int | Literal["request"] | None = None
    path: str | None = None
    prefix_rewrite: str | None = None
    prefix_cut: int = 0
    tls_listener: bool = False
    response_levels: tuple[HeaderOps, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    """Answer with a fixed status and body."""

    status: int
    body: bytes = b""
    response_levels: tuple[HeaderOps, ...] = ()


Action: TypeAlias = Forward | Redirect | DirectResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A matcher and its action. ``name`` as Envoy logs it (``rule`` or ``rule.match``)."""

    match: RouteMatch
    action: Action
    name: str = ""
    origin: Origin = Origin("default")


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """Compiled routes for a set of host patterns. First match wins; none is 404 NR."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    origin: Origin = Origin("default")

    def match(self, request: RequestHead) -> Route | None:
        """The first route that matches."""
        for route in self.routes:
            if route.match.matches(request):
                return route
        return None


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The virtual hosts of one listener (one port), by host pattern.

    Exact names by dict; ``*.suffix`` by a dict of suffixes (``.suffix``), looked up
    from the longest; partial wildcards (``*suffix``) by length; then ``*``.
    Host names are in lower case.
    """

    exact: dict[str, VirtualHost] = field(default_factory=dict)
    suffixes: dict[str, VirtualHost] = field(default_factory=dict)
    suffix_lengths: tuple[int, ...] = ()
    catch_all: VirtualHost | None = None

    def find(self, host: str) -> VirtualHost | None:
        """The virtual host for a Host header value without its port."""
        found = self.exact.get(host)
        if found is not None:
            return found
        for length in self.suffix_lengths:
            # A wildcard stands for at least one character.
            if length < len(host) and (found := self.suffixes.get(host[-length:])) is not None:
                return found
        return self.catch_all
