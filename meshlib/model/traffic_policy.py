"""TrafficPolicy: how connections to a destination are balanced, limited, watched and secured.

Shared by DestinationRule (whole host, subset, port) and Sidecar (inbound pools).
https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from meshlib.model.base import Maybe, Model, RuleError
from meshlib.model.destination import PortSelector
from meshlib.model.load_balancer import LoadBalancerSettings
from meshlib.model.scalars import AnyDuration, Duration, Int32, NonNegativeInt32, PercentInt, Port, UInt32

__all__ = [
    "ClientTLSSettings",
    "ConnectionPoolSettings",
    "HTTPSettings",
    "KeepAlive",
    "OutlierDetection",
    "PortTrafficPolicy",
    "ProxyProtocol",
    "RetryBudget",
    "RetryPolicy",
    "TCPSettings",
    "TcpKeepalive",
    "TrafficPolicy",
    "TunnelSettings",
]


class TcpKeepalive(Model, frozen=True, kw_only=True):
    """Probes on idle connections; absent values are the operating system's (time 2 h, interval 75 s, 9 probes)."""

    probes: Maybe[UInt32] = None
    time: Maybe[Duration] = None
    interval: Maybe[Duration] = None


class TCPSettings(Model, frozen=True, kw_only=True):
    """Limits of connections.

    ``max_connections`` absent: 2³²−1; ``connect_timeout`` absent: 10 s;
    ``max_connection_duration`` absent: none; ``idle_timeout`` absent: 1 h, 0s: none.
    """

    max_connections: Maybe[NonNegativeInt32] = None
    connect_timeout: Maybe[Duration] = None
    tcp_keepalive: Maybe[TcpKeepalive] = None
    max_connection_duration: Maybe[Duration] = None
    idle_timeout: Maybe[AnyDuration] = None

    def __post_init__(self) -> None:
        idle = self.idle_timeout
        if idle is not None and idle <= -0.001:
            raise RuleError("duration must be greater than 1ms, or 0s", field="idleTimeout")
        if idle is not None and idle >= 0.001 and round(idle * 1e9) % 1_000_000:
            raise RuleError("only durations to ms precision are supported", field="idleTimeout")


class KeepAlive(Model, frozen=True, kw_only=True):
    """HTTP/2 pings: one every ``interval``, its answer expected within ``timeout``."""

    interval: Maybe[Duration] = None
    timeout: Maybe[Duration] = None


class HTTPSettings(Model, frozen=True, kw_only=True):
    """Limits of requests.

    ``http1_max_pending_requests``, ``http2_max_requests`` and ``max_retries`` absent or 0:
    2³²−1; ``max_requests_per_connection`` 0: no limit; ``idle_timeout`` absent: 1 h;
    ``max_concurrent_streams`` per HTTP/2 connection; ``use_client_protocol`` keeps the
    protocol of the caller.
    """

    http1_max_pending_requests: Maybe[NonNegativeInt32] = None
    http2_max_requests: Maybe[NonNegativeInt32] = None
    max_requests_per_connection: Maybe[NonNegativeInt32] = None
    max_retries: Maybe[NonNegativeInt32] = None
    idle_timeout: Maybe[Duration] = None
    h2_upgrade_policy: Maybe[Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]] = None
    use_client_protocol: Maybe[bool] = None
    max_concurrent_streams: Maybe[NonNegativeInt32] = None
    http2_keep_alive: Maybe[KeepAlive] = None


class ConnectionPoolSettings(Model, frozen=True, kw_only=True):
    """Limits towards one destination, per process.

    https://istio.io/latest/docs/reference/config/networking/destination-rule/#ConnectionPoolSettings
    """

    tcp: Maybe[TCPSettings] = None
    http: Maybe[HTTPSettings] = None


class OutlierDetection(Model, frozen=True, kw_only=True):
    """When an endpoint counts as bad and is ejected.

    ``consecutive_5xx_errors`` (default 5, 0 disables) and ``consecutive_gateway_errors``
    (default off) count failures in a row; with ``split_external_local_origin_errors``,
    ``consecutive_local_origin_failures`` counts connection failures apart. ``interval``
    (10 s) is the sweep, ``base_ejection_time`` (30 s) is multiplied by the number of
    ejections, ``max_ejection_percent`` (10) limits them, and below ``min_health_percent``
    (0) of healthy endpoints ejected ones are used too. ``consecutive_errors`` is deprecated.
    ``outlier_detection_http_error_codes`` are the statuses that count as errors.
    https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection
    """

    consecutive_errors: Maybe[Int32] = None
    split_external_local_origin_errors: Maybe[bool] = None
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = None
    interval: Maybe[Duration] = None
    base_ejection_time: Maybe[Duration] = None
    max_ejection_percent: Maybe[PercentInt] = None
    min_health_percent: Maybe[PercentInt] = None
    outlier_detection_http_error_codes: tuple[Annotated[int, Meta(ge=100, le=599)], ...] = ()


class ClientTLSSettings(Model, frozen=True, kw_only=True):
    """TLS towards the destination.

    ``mode`` absent: DISABLE. Files (``client_certificate``, ``private_key``,
    ``ca_certificates``, ``ca_crl``) are paths; ``credential_name`` is a Secret instead of
    files. ``subject_alt_names`` are the identities accepted; ``sni`` absent: the host.
    https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings
    """

    mode: Maybe[Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]] = None
    client_certificate: Maybe[str] = None
    private_key: Maybe[str] = None
    ca_certificates: Maybe[str] = None
    credential_name: Maybe[str] = None
    subject_alt_names: tuple[str, ...] = ()
    sni: Maybe[str] = None
    insecure_skip_verify: bool | None = None
    ca_crl: Maybe[str] = None


class TunnelSettings(Model, frozen=True, kw_only=True):
    """Reach the target through the destination: ``protocol`` CONNECT (default) or POST."""

    protocol: Maybe[str] = None
    target_host: str
    target_port: Port


class ProxyProtocol(Model, frozen=True, kw_only=True):
    """Send a PROXY header (V1 if absent) before the first byte of each connection."""

    version: Maybe[Literal["V1", "V2"]] = None


class RetryBudget(Model, frozen=True, kw_only=True):
    """Cap on concurrent retries: ``percent`` (20) of the active requests, or of those of a ``budget_interval``.

    At least ``min_retry_concurrency`` (3) in any case.
    """

    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    budget_interval: Maybe[AnyDuration] = None
    min_retry_concurrency: Maybe[UInt32] = None


class RetryPolicy(Model, frozen=True, kw_only=True):
    """Our extension: retries of routes to this host that set none. Istio itself rejects the field.

    In Istio this is VirtualService ``http.retries``; the fields mean the same.
    """

    attempts: Maybe[NonNegativeInt32] = None
    per_try_timeout: Maybe[Duration] = None
    retry_on: Maybe[str] = None


class PortTrafficPolicy(Model, frozen=True, kw_only=True):
    """The policy of one port; what it leaves out is not taken from the policy of the host."""

    port: Maybe[PortSelector] = None
    load_balancer: Maybe[LoadBalancerSettings] = None
    connection_pool: Maybe[ConnectionPoolSettings] = None
    outlier_detection: Maybe[OutlierDetection] = None
    tls: Maybe[ClientTLSSettings] = None


class TrafficPolicy(Model, frozen=True, kw_only=True):
    """The policy of a host or of a subset.

    ``port_level_settings`` win over the rest for their port. ``timeout`` and
    ``retry_policy`` are our extension: defaults for routes to this host that set none;
    Istio itself rejects them (use VirtualService ``http.timeout`` and ``http.retries``).
    """

    load_balancer: Maybe[LoadBalancerSettings] = None
    connection_pool: Maybe[ConnectionPoolSettings] = None
    outlier_detection: Maybe[OutlierDetection] = None
    tls: Maybe[ClientTLSSettings] = None
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], Meta(max_length=4096)] = ()
    tunnel: Maybe[TunnelSettings] = None
    proxy_protocol: Maybe[ProxyProtocol] = None
    retry_budget: Maybe[RetryBudget] = None
    timeout: Maybe[Duration] = None
    retry_policy: Maybe[RetryPolicy] = None
