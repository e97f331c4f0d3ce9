"""Service: ports whose name tells no protocol. Istio 1.31: analyzers/service/portname.go."""

from __future__ import annotations

from typing import Final

from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_port_names", "is_control_plane"]

_PROTOCOLS: Final = frozenset("tcp udp grpc grpc-web http http_proxy http2 https tls mongo redis mysql".split())
_STANDARD: Final = frozenset({"kubernetes.io/h2c", "kubernetes.io/ws", "kubernetes.io/wss"})
_WELL_KNOWN: Final = frozenset({25, 53, 3306, 27017})
"""SMTP, DNS, MySQL, MongoDB: never guessed, always TCP."""
_MANAGED: Final = "gateway.istio.io/managed"
_CONTROLLERS: Final = frozenset(
    {"istio.io-gateway-controller", "istio.io-mesh-controller", "istio.io-eastwest-controller"}
)


def is_control_plane(item: Item) -> bool:
    """Whether an object belongs to Istio itself."""
    return "istio" in item.labels or item.labels.get("release") == "istio"


def analyze_port_names(view: View, report: Reporter) -> None:
    """Ports whose protocol can only be guessed; for external names that does not work."""
    for item in view.all("Service"):
        if is_control_plane(item) or item.labels.get(_MANAGED) in _CONTROLLERS:
            continue
        is_external = item.spec.text("type") == "ExternalName"
        for port in item.spec.items("ports"):
            at, name = (*port.path, "port"), port.text("name")
            if not _is_known(port) or (name == "tcp" and is_external):
                if is_external:
                    report.add("IST0150", item, at=at, show=(*port.path, "name"))
                else:
                    target = port.get("targetPort")
                    shown = "0" if target is None else target
                    report.add("IST0118", item, name, port.number("port"), shown, at=at, show=(*port.path, "name"))


def _is_known(port: Node) -> bool:
    if port.text("protocol") == "UDP":
        return True
    name = port.text("appProtocol") if port.get("appProtocol") is not None else port.text("name")
    if name in _STANDARD or name.lower().startswith("grpc-web"):
        return True
    return name.partition("-")[0].lower() in _PROTOCOLS or port.number("port") in _WELL_KNOWN
