"""Deployments: Services that disagree about their ports, and the user that only the proxy may be.

Istio 1.31: analyzers/deployment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshlib._analyze.injection import is_in_mesh
from meshlib._analyze.label_selectors import Services
from meshlib._analyze.port_names import is_control_plane
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_service_ports", "analyze_users"]

_PROXY_USER: Final = 1337
_MANAGED: Final = "gateway.istio.io/managed"


def analyze_service_ports(view: View, report: Reporter) -> None:
    """Services of one workload with different protocols for a port, or different ports for a target."""
    known = Services(view.all("Service"))
    for item in view.all("Deployment"):
        template = item.spec.node("template")
        metadata = template.node("metadata")
        labels, containers = metadata.labels("labels"), template.node("spec").items("containers")
        if item.labels.get(_MANAGED) == "istio.io-mesh-controller":
            continue
        if is_in_mesh(view, item.namespace, labels, metadata.labels("annotations"), containers):
            services = sorted(known.selecting(item.namespace, labels), key=lambda service: service.full_name)
            _check_protocols(item, services, report)
            _check_targets(item, services, report)


def _check_protocols(item: Item, services: list[Item], report: Reporter) -> None:
    names: dict[int, dict[str, list[str]]] = {}
    for service in services:
        for port in service.spec.items("ports"):
            protocols = names.setdefault(port.number("port"), {})
            protocols.setdefault(port.text("protocol") or "TCP", []).append(service.full_name)
    for number, protocols in names.items():
        if len(protocols) > 1:
            shown = sorted(name for group in protocols.values() for name in group)
            report.add("IST0116", item, item.name, number, shown, at=("metadata", "name"))


def _check_targets(item: Item, services: list[Item], report: Reporter) -> None:
    targets: dict[str, dict[int, str]] = {}
    for service in services:
        for port in service.spec.items("ports"):
            number = port.number("port")
            targets.setdefault(_target(port, number), {})[number] = service.full_name
    for target, ports in targets.items():
        if len(ports) > 1:
            shown = sorted(ports.values())
            report.add("IST0137", item, item.name, shown, target, sorted(ports), at=("metadata", "name"))


def _target(port: Node, number: int) -> str:
    written = port.get("targetPort")
    return str(number) if written in (None, "", 0, "0") else str(written)


def analyze_users(view: View, report: Reporter) -> None:
    """Containers that run as the user whose connections the proxy leaves alone."""
    for kind, below in (("Pod", ()), ("Deployment", ("template", "spec"))):
        for item in view.all(kind):
            spec = item.spec.node(*below)
            if not is_control_plane(item) and any(user == _PROXY_USER for user in _users(spec)):
                report.add("IST0144", item, show=spec.path)


def _users(spec: Node) -> Iterator[int]:
    yield spec.node("securityContext").number("runAsUser")
    for container in spec.items("containers"):
        if container.text("name") not in ("istio-proxy", "istio-operator"):
            yield container.node("securityContext").number("runAsUser")
