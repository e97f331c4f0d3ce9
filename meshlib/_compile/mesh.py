"""Settings of the mesh with Istio's defaults filled in (semantics 8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from meshlib._compile.index import Index
from meshlib.model.load_balancer import LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.traffic_policy import ConnectionPoolSettings, OutlierDetection, TcpKeepalive
from meshlib.model.virtual_service import HTTPRetry

__all__ = ["MeshSettings", "Visibility", "export_set", "mesh_settings"]

Visibility = frozenset[str]
"""Namespaces that see a resource: names, or ``*`` for all; ``~`` for nobody."""

PUBLIC: Final[Visibility] = frozenset("*")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """What compiling needs of MeshConfig; durations in seconds."""

    root_namespace: str = "istio-system"
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    outbound_mode: str = "ALLOW_ANY"
    auto_mtls: bool = True
    connect_timeout: float = 10.0
    dns_refresh_rate: float = 60.0
    h2_upgrade: bool = False
    tcp_keepalive: TcpKeepalive | None = None
    retry: HTTPRetry | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    locality: LocalityLoadBalancerSetting = field(default_factory=lambda: LocalityLoadBalancerSetting(enabled=True))
    zone_aware: ZoneAwareLoadBalancerSetting | None = None
    service_export: Visibility = PUBLIC
    virtual_service_export: Visibility = PUBLIC
    destination_rule_export: Visibility = PUBLIC


def mesh_settings(index: Index) -> MeshSettings:
    """The settings of the last MeshConfig among the resources; Istio's defaults without one."""
    config = MeshConfig()
    for entry in index.of("MeshConfig", MeshConfig):
        config = entry.spec
    traffic = config.default_traffic_policy
    outbound = config.outbound_traffic_policy
    defaults = MeshSettings()
    return MeshSettings(
        root_namespace=config.root_namespace or defaults.root_namespace,
        trust_domain=config.trust_domain or defaults.trust_domain,
        trust_domain_aliases=config.trust_domain_aliases,
        # The zero value of the mode is REGISTRY_ONLY: an empty block means that.
        outbound_mode=defaults.outbound_mode if outbound is None else outbound.mode or "REGISTRY_ONLY",
        auto_mtls=config.enable_auto_mtls is not False,
        connect_timeout=float(config.connect_timeout or defaults.connect_timeout),
        dns_refresh_rate=float(config.dns_refresh_rate or defaults.dns_refresh_rate),
        h2_upgrade=config.h2_upgrade_policy == "UPGRADE",
        tcp_keepalive=config.tcp_keepalive,
        retry=config.default_http_retry_policy,
        connection_pool=traffic.connection_pool if traffic else None,
        outlier_detection=traffic.outlier_detection if traffic else None,
        locality=config.locality_lb_setting or defaults.locality,
        zone_aware=config.zone_aware_lb_setting,
        service_export=frozenset(config.default_service_export_to) or PUBLIC,
        virtual_service_export=frozenset(config.default_virtual_service_export_to) or PUBLIC,
        destination_rule_export=frozenset(config.default_destination_rule_export_to) or PUBLIC,
    )


def export_set(export_to: Iterable[str], namespace: str, default: Visibility) -> Visibility:
    """An exportTo list as namespaces: ``.`` becomes the namespace of its resource, an empty list the default."""
    names = frozenset(export_to) or default
    if "." in names:
        names = names - {"."} | {namespace}
    return names
