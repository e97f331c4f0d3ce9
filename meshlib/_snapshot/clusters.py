"""Compiled destinations: clusters, endpoints and their effective traffic policy. Immutable once built.

Defaults are filled in (semantics 4): nothing here is None because it was not
written, only because it is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = [
    "UNLIMITED",
    "BalancerPolicy",
    "Cluster",
    "ConnectionPool",
    "Credential",
    "Discovery",
    "Endpoint",
    "LeastRequest",
    "Locality",
    "LocalityPolicy",
    "LocalityShare",
    "Maglev",
    "OutlierDetection",
    "Passthrough",
    "RandomPick",
    "RetryBudget",
    "RingHash",
    "RoundRobin",
    "TrafficPolicy",
    "Tunnel",
    "UpstreamTls",
    "Warmup",
]

UNLIMITED: Final = 2**32 - 1
"""Envoy's "no limit" for thresholds."""


@dataclass(frozen=True, slots=True)
class Locality:
    """Region, zone, subzone; an unknown part is empty."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join((self.region, self.zone, self.subzone)).rstrip("/")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One address of a cluster. ``priority`` is the failover tier, 0 first; ``weight`` at least 1.

    ``address`` is an IP address, a host name to resolve, or ``unix:///path``
    (then ``port`` is 0). ``identity`` is the SPIFFE id expected of it, if known;
    ``mesh_tls`` whether it has a sidecar that speaks mesh mTLS. ``workload`` names what
    runs there, if known.
    """

    address: str
    port: int
    weight: int = 1
    labels: Mapping[str, str] = {}
    locality: Locality = Locality()
    priority: int = 0
    healthy: bool = True
    network: str = ""
    identity: str = ""
    mesh_tls: bool = False
    workload: str = ""

    @property
    def key(self) -> str:
        """``address:port``, the identity under which its state survives a reload."""
        return f"[{self.address}]:{self.port}" if ":" in self.address[:5] else f"{self.address}:{self.port}"


class Discovery(Enum):
    """How the endpoints of a cluster are found."""

    STATIC = "static"
    """The endpoints are addresses, all known."""
    DNS = "dns"
    """The endpoints are names; each address behind them counts (Envoy's strict DNS)."""
    LOGICAL_DNS = "logical-dns"
    """One name; the first address is used for new connections."""
    ORIGINAL = "original"
    """The address that the application dialled."""
    DYNAMIC = "dynamic"
    """The name in the Host header, resolved at request time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """Slow start of new endpoints: window in seconds, first share 0–1, aggression."""

    duration: float
    minimum: float = 0.1
    aggression: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRobin:
    warmup: Warmup | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRequest:
    warmup: Warmup | None = None


@dataclass(frozen=True, slots=True)
class RandomPick:
    pass


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Connect to the address that the application dialled."""


@dataclass(frozen=True, slots=True)
class RingHash:
    minimum_size: int = 1024


@dataclass(frozen=True, slots=True)
class Maglev:
    table_size: int = 65537


BalancerPolicy: TypeAlias = RoundRobin | LeastRequest | RandomPick | Passthrough | RingHash | Maglev


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """Caps of one cluster in this process; durations in seconds, None: off."""

    max_connections: int = UNLIMITED
    connect_timeout: float = 10.0
    max_connection_duration: float | None = None
    tcp_idle_timeout: float | None = None
    tcp_keepalive: tuple[int | None, float | None, float | None] | None = None
    max_pending_requests: int = UNLIMITED
    max_requests: int = UNLIMITED
    max_requests_per_connection: int = 0
    max_retries: int = UNLIMITED
    idle_timeout: float | None = 3600.0
    max_concurrent_streams: int = 2**31 - 1
    h2_upgrade: bool = False
    use_client_protocol: bool = False
    http2_keepalive: tuple[float, float] | None = None
    """Interval and timeout of HTTP/2 pings."""
    ends_connections: bool = False
    """Whether a connection ends before client libraries would end it: by requests, age or short idleness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """When an endpoint is ejected (semantics 4.11). Thresholds of 0 are off; percentages 0–100; seconds."""

    consecutive_5xx: int = 5
    consecutive_gateway: int = 0
    consecutive_local: int = 5
    split_local: bool = False
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    error_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """Cap on concurrent retries: a share 0–1 of the active requests, but never fewer than ``minimum``.

    With an ``interval`` in seconds it is a share of the attempts started within that time.
    """

    ratio: float = 0.2
    minimum: int = 3
    interval: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """What connections ask the destination to connect them to: ``method`` is CONNECT or POST."""

    method: Literal["CONNECT", "POST"]
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Certificates and a key as PEM, out of Secrets. Its repr never shows them."""

    roots: bytes = field(default=b"", repr=False)
    chain: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    revoked: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """TLS towards the upstream. ``AUTO`` is auto-mTLS: mesh mTLS to endpoints that have a sidecar."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "AUTO"] = "AUTO"
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    ca_certificates: str = ""
    client_certificate: str = ""
    private_key: str = ""
    credential_name: str = ""
    credential: Credential | None = None
    ca_crl: str = ""
    skip_verify: bool = False
    names_are_written: bool = False
    """Whether the rule itself names ``subject_alt_names``; else the accounts of the cluster are accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityPolicy:
    """The effective locality setting (semantics 4.3), None where nothing applies.

    ``distribute`` and ``failover`` as written; ``failover_priority`` the labels.
    ``makes_tiers`` is whether there are failover tiers at all, ``is_zone_aware`` makes
    them of regions instead of distances; ``is_weighted`` is whether the localities of a
    tier are chosen by weight before their endpoints.
    """

    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    failover_priority: tuple[str, ...] = ()
    makes_tiers: bool = True
    is_zone_aware: bool = False
    is_weighted: bool = False


@dataclass(frozen=True, slots=True)
class LocalityShare:
    """The weight of a locality among those of its failover tier."""

    priority: int
    locality: Locality
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy:
    """The effective policy of one cluster, after inheritance (semantics 1.9)."""

    balancer: BalancerPolicy = LeastRequest()
    connection_pool: ConnectionPool = ConnectionPool()
    outlier: OutlierDetection | None = None
    tls: UpstreamTls = UpstreamTls()
    retry_budget: RetryBudget | None = None
    locality: LocalityPolicy | None = None
    proxy_protocol: Literal["V1", "V2"] | None = None
    tunnel: Tunnel | None = None


class Cluster(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A destination that requests can be sent to: host, port and subset with their endpoints.

    ``original_port`` replaces the dialled port where the discovery is ORIGINAL.
    ``origin`` names the DestinationRule behind the policy, if there is one. ``localities``
    are weighted against each other within their tier; empty where they do not count.
    ``accounts`` are the names that certificates of the destination carry, all subsets together.
    ``service`` is the name of its Kubernetes Service; empty for other hosts.
    """

    name: str
    host: str
    port: int
    subset: str = ""
    namespace: str = ""
    external: bool = False
    protocol: str = "HTTP"
    discovery: Discovery = Discovery.STATIC
    endpoints: tuple[Endpoint, ...] = ()
    localities: tuple[LocalityShare, ...] = ()
    policy: TrafficPolicy = TrafficPolicy()
    origin: str = ""
    original_port: int | None = None
    subset_labels: Mapping[str, str] = {}
    accounts: tuple[str, ...] = ()
    service: str = ""

    @property
    def speaks_http2(self) -> bool:
        """Whether Envoy would send HTTP/2 to it."""
        return self.protocol in ("HTTP2", "GRPC") or self.policy.connection_pool.h2_upgrade

    @property
    def default_sni(self) -> str:
        """The server name of mesh mTLS where the policy names none: ``outbound_.80_.v1_.host``."""
        return f"outbound_.{self.port}_.{self.subset}_.{self.host}"

    def __repr__(self) -> str:
        subset = f"/{self.subset}" if self.subset else ""
        return f"<Cluster {self.host}:{self.port}{subset} endpoints={len(self.endpoints)}>"
