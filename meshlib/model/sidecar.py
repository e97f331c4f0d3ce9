"""Sidecar: which hosts a workload sees, and how its own ports are served.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from meshlib.model.base import Maybe, Model, Spec
from meshlib.model.destination import Destination
from meshlib.model.scalars import PortOrZero, UInt32
from meshlib.model.selectors import WorkloadSelector
from meshlib.model.server_tls import ServerTLSSettings
from meshlib.model.traffic_policy import ConnectionPoolSettings

__all__ = [
    "IstioEgressListener",
    "IstioIngressListener",
    "OutboundTrafficPolicy",
    "SidecarPort",
    "SidecarSpec",
    "WorkloadSelector",
]

CaptureMode: TypeAlias = Literal["DEFAULT", "IPTABLES", "NONE"]


class SidecarPort(Model, frozen=True, kw_only=True):
    """A port of a listener."""

    number: Maybe[PortOrZero] = None
    protocol: Maybe[str] = None
    name: Maybe[str] = None
    target_port: Maybe[UInt32] = None


class IstioIngressListener(Model, frozen=True, kw_only=True):
    """A port of the workload itself: ``default_endpoint`` (``127.0.0.1:8080``, ``unix:///path``) is the application."""

    port: SidecarPort
    bind: Maybe[str] = None
    capture_mode: Maybe[CaptureMode] = None
    default_endpoint: Maybe[str] = None
    tls: Maybe[ServerTLSSettings] = None
    connection_pool: Maybe[ConnectionPoolSettings] = None


class IstioEgressListener(Model, frozen=True, kw_only=True):
    """Hosts visible through one port (absent: all ports): ``namespace/name``, with ``.``, ``*`` and ``~``."""

    port: Maybe[SidecarPort] = None
    bind: Maybe[str] = None
    capture_mode: Maybe[CaptureMode] = None
    hosts: tuple[str, ...]


class OutboundTrafficPolicy(Model, frozen=True, kw_only=True):
    """What happens to unknown hosts: REGISTRY_ONLY refuses, ALLOW_ANY passes them on (to ``egress_proxy`` if set)."""

    mode: Maybe[Literal["REGISTRY_ONLY", "ALLOW_ANY"]] = None
    egress_proxy: Maybe[Destination] = None


class SidecarSpec(Spec, frozen=True, kw_only=True):
    """The view of the workloads in ``workload_selector`` (absent: all of the namespace; in the root namespace: all)."""

    RULES: ClassVar[tuple[str, ...]] = ("egress", "ingress")

    workload_selector: Maybe[WorkloadSelector] = None
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    inbound_connection_pool: Maybe[ConnectionPoolSettings] = None
    outbound_traffic_policy: Maybe[OutboundTrafficPolicy] = None
