"""MeshConfig: settings of the whole mesh, from ConfigMap ``istio`` or a document of its own.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from meshlib.model.base import EMPTY, Json, Maybe, Model, Spec
from meshlib.model.load_balancer import LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting
from meshlib.model.mesh_providers import ExtensionProvider
from meshlib.model.mesh_proxy import ProxyConfig
from meshlib.model.scalars import AnyDuration, Duration, Int32
from meshlib.model.traffic_policy import ClientTLSSettings, ConnectionPoolSettings, OutlierDetection, TcpKeepalive
from meshlib.model.virtual_service import HTTPRetry

__all__ = [
    "CertificateData",
    "DefaultProviders",
    "DefaultTrafficPolicy",
    "InboundTrafficPolicy",
    "LabelSelector",
    "LabelSelectorRequirement",
    "MeshConfig",
    "MeshOutboundTrafficPolicy",
    "ProxyPathNormalization",
    "ServiceSettings",
    "Settings",
    "TLSConfig",
]


class MeshOutboundTrafficPolicy(Model, frozen=True, kw_only=True):
    """What happens to unknown hosts; absent: ALLOW_ANY."""

    mode: Maybe[Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"]] = None
    tls: Maybe[ClientTLSSettings] = None


class InboundTrafficPolicy(Model, frozen=True, kw_only=True):
    """What happens to inbound requests for unknown ports; absent: PASSTHROUGH."""

    mode: Maybe[Literal["PASSTHROUGH", "LOCALHOST"]] = None


class CertificateData(Model, frozen=True, kw_only=True):
    """A trust anchor: ``pem``, or the URL of a SPIFFE bundle, for ``trust_domains`` (absent: that of the mesh)."""

    pem: Maybe[str] = None
    spiffe_bundle_url: Maybe[str] = None
    cert_signers: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()


class Settings(Model, frozen=True, kw_only=True):
    """``cluster_local``: endpoints of other clusters are left out."""

    cluster_local: Maybe[bool] = None


class ServiceSettings(Model, frozen=True, kw_only=True):
    """Settings of services by ``hosts`` (``*.ns.svc.cluster.local``)."""

    settings: Maybe[Settings] = None
    hosts: tuple[str, ...] = ()


class DefaultProviders(Model, frozen=True, kw_only=True):
    """The providers of Telemetry resources that name none."""

    tracing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    access_logging: tuple[str, ...] = ()


class LabelSelectorRequirement(Model, frozen=True, kw_only=True):
    """``operator`` is In, NotIn, Exists or DoesNotExist."""

    key: Maybe[str] = None
    operator: Maybe[str] = None
    values: tuple[str, ...] = ()


class LabelSelector(Model, frozen=True, kw_only=True):
    """Objects whose labels satisfy all of it."""

    match_labels: Mapping[str, str] = EMPTY
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class ProxyPathNormalization(Model, frozen=True, kw_only=True):
    """How paths are normalized before policies see them; DEFAULT is BASE."""

    normalization: Maybe[Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]] = None


class TLSConfig(Model, frozen=True, kw_only=True):
    """Lower bound of the protocol, curves, ciphers."""

    min_protocol_version: Maybe[Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"]] = None
    ecdh_curves: tuple[str, ...] = ()
    cipher_suites: tuple[str, ...] = ()


class DefaultTrafficPolicy(Model, frozen=True, kw_only=True):
    """Limits and outlier detection of destinations without a policy of their own."""

    connection_pool: Maybe[ConnectionPoolSettings] = None
    outlier_detection: Maybe[OutlierDetection] = None


class MeshConfig(Spec, frozen=True, kw_only=True):
    """Settings of the mesh. Absent fields keep Istio's defaults.

    Those are: ``connect_timeout`` 10 s, ``root_namespace`` istio-system, ``trust_domain``
    cluster.local, ``enable_auto_mtls`` true, ``outbound_traffic_policy`` ALLOW_ANY,
    ``default_*_export_to`` ``*``, ``path_normalization`` BASE, ``dns_refresh_rate`` 60 s.
    """

    proxy_listen_port: Maybe[Int32] = None
    proxy_inbound_listen_port: Maybe[Int32] = None
    proxy_http_port: Maybe[Int32] = None
    connect_timeout: Maybe[Duration] = None
    hbone_idle_timeout: Maybe[AnyDuration] = None
    protocol_detection_timeout: Maybe[AnyDuration] = None
    tcp_keepalive: Maybe[TcpKeepalive] = None
    ingress_class: Maybe[str] = None
    ingress_service: Maybe[str] = None
    ingress_controller_mode: Maybe[Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"]] = None
    ingress_selector: Maybe[str] = None
    enable_tracing: Maybe[bool] = None
    access_log_file: Maybe[str] = None
    access_log_format: Maybe[str] = None
    access_log_encoding: Maybe[Literal["TEXT", "JSON"]] = None
    enable_envoy_access_log_service: Maybe[bool] = None
    disable_envoy_listener_log: Maybe[bool] = None
    default_config: Maybe[ProxyConfig] = None
    outbound_traffic_policy: Maybe[MeshOutboundTrafficPolicy] = None
    inbound_traffic_policy: Maybe[InboundTrafficPolicy] = None
    config_sources: tuple[Mapping[str, Json], ...] = ()
    enable_auto_mtls: bool | None = None
    trust_domain: Maybe[str] = None
    trust_domain_aliases: tuple[str, ...] = ()
    ca_certificates: tuple[CertificateData, ...] = ()
    default_service_export_to: tuple[str, ...] = ()
    default_virtual_service_export_to: tuple[str, ...] = ()
    default_destination_rule_export_to: tuple[str, ...] = ()
    root_namespace: Maybe[str] = None
    locality_lb_setting: Maybe[LocalityLoadBalancerSetting] = None
    zone_aware_lb_setting: Maybe[ZoneAwareLoadBalancerSetting] = None
    dns_refresh_rate: Maybe[AnyDuration] = None
    h2_upgrade_policy: Maybe[Literal["DO_NOT_UPGRADE", "UPGRADE"]] = None
    inbound_cluster_stat_name: Maybe[str] = None
    outbound_cluster_stat_name: Maybe[str] = None
    certificates: tuple[Mapping[str, Json], ...] = ()
    service_settings: tuple[ServiceSettings, ...] = ()
    service_scope_configs: tuple[Mapping[str, Json], ...] = ()
    enable_prometheus_merge: bool | None = None
    verify_certificate_at_client: bool | None = None
    ca: Maybe[Mapping[str, Json]] = None
    extension_providers: tuple[ExtensionProvider, ...] = ()
    default_providers: Maybe[DefaultProviders] = None
    discovery_selectors: tuple[LabelSelector, ...] = ()
    path_normalization: Maybe[ProxyPathNormalization] = None
    default_http_retry_policy: Maybe[HTTPRetry] = None
    default_inbound_http_retry_policy: Maybe[HTTPRetry] = None
    mesh_mtls: Maybe[TLSConfig] = msgspec.field(default=None, name="meshMTLS")
    tls_defaults: Maybe[TLSConfig] = None
    default_traffic_policy: Maybe[DefaultTrafficPolicy] = None
    service_entry_visibility: Maybe[Mapping[str, Json]] = None
