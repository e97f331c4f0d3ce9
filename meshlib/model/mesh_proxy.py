"""ProxyConfig of MeshConfig (``defaultConfig``): what a sidecar would be started with.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from meshlib.model.base import EMPTY, Json, Maybe, Model, at_most_one
from meshlib.model.proxy_config import ProxyImage
from meshlib.model.scalars import AnyDuration, Int32, UInt32
from meshlib.model.telemetry import Environment, Literal_, RequestHeader
from meshlib.model.traffic_policy import ClientTLSSettings, TcpKeepalive
from meshlib.model.workload_group import ReadinessProbe

__all__ = [
    "ConnectionSettings",
    "MeshTracing",
    "ProxyConfig",
    "ProxyHeaders",
    "ProxyStatsMatcher",
    "RemoteService",
    "SetCurrentClientCertDetails",
    "Switch",
    "Topology",
    "TracerAddress",
    "TracingTag",
]

ForwardClientCertDetails: TypeAlias = Literal[
    "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
]


class RemoteService(Model, frozen=True, kw_only=True):
    """A service of the proxy's own telemetry."""

    address: Maybe[str] = None
    tls_settings: Maybe[ClientTLSSettings] = None
    tcp_keepalive: Maybe[TcpKeepalive] = None


class TracerAddress(Model, frozen=True, kw_only=True):
    """A tracing backend by ``host:port``."""

    address: Maybe[str] = None
    access_token: Maybe[str] = None


class TracingTag(Model, frozen=True, kw_only=True):
    """A tag of all spans; one source of its value."""

    literal: Maybe[Literal_] = None
    environment: Maybe[Environment] = None
    header: Maybe[RequestHeader] = None

    def __post_init__(self) -> None:
        at_most_one(self, "literal", "environment", "header")


class MeshTracing(Model, frozen=True, kw_only=True):
    """The older way to configure tracing; ``sampling`` is a percentage (1.0)."""

    zipkin: Maybe[TracerAddress] = None
    lightstep: Maybe[TracerAddress] = None
    datadog: Maybe[TracerAddress] = None
    stackdriver: Maybe[Mapping[str, Json]] = None
    open_census_agent: Maybe[Mapping[str, Json]] = None
    custom_tags: Mapping[str, TracingTag] = EMPTY
    max_path_tag_length: Maybe[UInt32] = None
    sampling: Maybe[float] = None
    tls_settings: Maybe[ClientTLSSettings] = None
    enable_istio_tags: bool | None = None

    def __post_init__(self) -> None:
        at_most_one(self, "zipkin", "lightstep", "datadog", "stackdriver", "open_census_agent")


class Topology(Model, frozen=True, kw_only=True):
    """How far ``X-Forwarded-For`` is trusted, and what becomes of ``X-Forwarded-Client-Cert``."""

    num_trusted_proxies: Maybe[UInt32] = None
    forward_client_cert_details: Maybe[ForwardClientCertDetails] = None
    proxy_protocol: Maybe[Mapping[str, Json]] = None


class ProxyStatsMatcher(Model, frozen=True, kw_only=True):
    """Statistics to keep besides the default ones."""

    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class Switch(Model, frozen=True, kw_only=True):
    """A header that is sent or not; ``value`` for the server header only."""

    disabled: bool | None = None
    enabled: bool | None = None
    value: Maybe[str] = None


class MetadataExchangeHeaders(Model, frozen=True, kw_only=True):
    """Headers that carry the peer's metadata: IN_MESH keeps them inside."""

    mode: Maybe[Literal["UNDEFINED", "IN_MESH"]] = None


class SetCurrentClientCertDetails(Model, frozen=True, kw_only=True):
    """What of the client's certificate is written into ``X-Forwarded-Client-Cert``."""

    subject: bool | None = None
    cert: bool | None = None
    chain: bool | None = None
    dns: bool | None = None
    uri: bool | None = None


class ProxyHeaders(Model, frozen=True, kw_only=True):
    """Headers that the proxy adds or hides."""

    forwarded_client_cert: Maybe[ForwardClientCertDetails] = None
    set_current_client_cert_details: Maybe[SetCurrentClientCertDetails] = None
    request_id: Maybe[Switch] = None
    server: Maybe[Switch] = None
    attempt_count: Maybe[Switch] = None
    envoy_debug_headers: Maybe[Switch] = None
    metadata_exchange_headers: Maybe[MetadataExchangeHeaders] = None
    preserve_http1_header_case: bool | None = msgspec.field(default=None, name="preserveHttp1HeaderCase")
    x_forwarded_host: Maybe[Switch] = None
    x_forwarded_port: Maybe[Switch] = None


class ConnectionSettings(Model, frozen=True, kw_only=True):
    """Limits and hardening of downstream connections."""

    profile: Maybe[Literal["SIDECAR", "EDGE"]] = None
    listener_per_connection_buffer_limit_bytes: Int32 | None = None
    cluster_per_connection_buffer_limit_bytes: Int32 | None = None
    http_idle_timeout: Maybe[AnyDuration] = None
    http_max_connection_duration: Maybe[AnyDuration] = None
    http_drain_timeout: Maybe[AnyDuration] = None
    http_request_timeout: Maybe[AnyDuration] = None
    http_request_headers_timeout: Maybe[AnyDuration] = None
    http_stream_idle_timeout: Maybe[AnyDuration] = None
    http_max_stream_duration: Maybe[AnyDuration] = None
    http_max_concurrent_streams: Int32 | None = None
    http2_initial_stream_window_size: Int32 | None = None
    http2_initial_connection_window_size: Int32 | None = None
    http_headers_with_underscores_action: Maybe[str] = None
    http_merge_slashes: bool | None = None
    http_path_with_escaped_slashes_action: Maybe[str] = None
    listener_connection_limit: Int32 | None = None
    global_downstream_connection_limit: Int32 | None = None


class ProxyConfig(Model, frozen=True, kw_only=True):
    """Most of it concerns Envoy's process; headers, topology, tracing and metadata matter here.

    ``concurrency`` and ports are kept for completeness.
    """

    config_path: Maybe[str] = None
    binary_path: Maybe[str] = None
    service_cluster: Maybe[str] = None
    tracing_service_name: Maybe[
        Literal["APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"]
    ] = None
    drain_duration: Maybe[AnyDuration] = None
    discovery_address: Maybe[str] = None
    discovery_refresh_delay: Maybe[AnyDuration] = None
    zipkin_address: Maybe[str] = None
    statsd_udp_address: Maybe[str] = None
    envoy_metrics_service_address: Maybe[str] = None
    proxy_admin_port: Maybe[Int32] = None
    availability_zone: Maybe[str] = None
    control_plane_auth_policy: Maybe[Literal["NONE", "MUTUAL_TLS", "INHERIT"]] = None
    custom_config_file: Maybe[str] = None
    stat_name_length: Maybe[Int32] = None
    concurrency: Int32 | None = None
    proxy_bootstrap_template_path: Maybe[str] = None
    interception_mode: Maybe[Literal["REDIRECT", "TPROXY", "NONE"]] = None
    tracing: Maybe[MeshTracing] = None
    sds: Maybe[Mapping[str, Json]] = None
    envoy_access_log_service: Maybe[RemoteService] = None
    envoy_metrics_service: Maybe[RemoteService] = None
    proxy_metadata: Mapping[str, str] = EMPTY
    runtime_values: Mapping[str, str] = EMPTY
    status_port: Maybe[Int32] = None
    extra_stat_tags: tuple[str, ...] = ()
    gateway_topology: Maybe[Topology] = None
    termination_drain_duration: Maybe[AnyDuration] = None
    mesh_id: Maybe[str] = None
    readiness_probe: Maybe[ReadinessProbe] = None
    proxy_stats_matcher: Maybe[ProxyStatsMatcher] = None
    hold_application_until_proxy_starts: bool | None = None
    ca_certificates_pem: tuple[str, ...] = ()
    image: Maybe[ProxyImage] = None
    private_key_provider: Maybe[Mapping[str, Json]] = None
    proxy_headers: Maybe[ProxyHeaders] = None
    file_flush_interval: Maybe[AnyDuration] = None
    file_flush_min_size_kb: Maybe[UInt32] = None
    stats_compression: bool | None = None
    connection_settings: Maybe[ConnectionSettings] = None

    def __post_init__(self) -> None:
        at_most_one(self, "service_cluster", "tracing_service_name")
