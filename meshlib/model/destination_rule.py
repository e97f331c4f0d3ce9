"""DestinationRule: what happens to traffic after routing, and the subsets of a host.

https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

from __future__ import annotations

from typing import ClassVar

from meshlib.model.base import EMPTY, Maybe, Model, Spec
from meshlib.model.load_balancer import (
    BackendUtilization,
    ConsistentHashLB,
    CookieAttribute,
    Distribute,
    Failover,
    HTTPCookie,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
    MagLev,
    RingHash,
    WarmupConfiguration,
    ZoneAwareLoadBalancerSetting,
)
from meshlib.model.selectors import Labels, TypeWorkloadSelector
from meshlib.model.traffic_policy import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    HTTPSettings,
    KeepAlive,
    OutlierDetection,
    PortTrafficPolicy,
    ProxyProtocol,
    RetryBudget,
    RetryPolicy,
    TcpKeepalive,
    TCPSettings,
    TrafficPolicy,
    TunnelSettings,
)

__all__ = [
    "BackendUtilization",
    "ClientTLSSettings",
    "ConnectionPoolSettings",
    "ConsistentHashLB",
    "CookieAttribute",
    "DestinationRuleSpec",
    "Distribute",
    "Failover",
    "HTTPCookie",
    "HTTPSettings",
    "KeepAlive",
    "LoadBalancerSettings",
    "LocalityLoadBalancerSetting",
    "MagLev",
    "OutlierDetection",
    "PortTrafficPolicy",
    "ProxyProtocol",
    "RetryBudget",
    "RetryPolicy",
    "RingHash",
    "Subset",
    "TCPSettings",
    "TcpKeepalive",
    "TrafficPolicy",
    "TunnelSettings",
    "WarmupConfiguration",
    "ZoneAwareLoadBalancerSetting",
]


class Subset(Model, frozen=True, kw_only=True):
    """The endpoints of the host that carry all ``labels``; its policy wins field by field over the host's."""

    name: str
    labels: Labels = EMPTY
    traffic_policy: Maybe[TrafficPolicy] = None


class DestinationRuleSpec(Spec, frozen=True, kw_only=True):
    """Policies of ``host`` (short names resolve in the namespace of the rule; ``*.suffix`` is allowed).

    ``export_to`` are the namespaces that see it (absent: all); ``workload_selector``
    limits it to client workloads with these labels.
    """

    RULES: ClassVar[tuple[str, ...]] = ("subsets",)

    host: str
    traffic_policy: Maybe[TrafficPolicy] = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: Maybe[TypeWorkloadSelector] = None
