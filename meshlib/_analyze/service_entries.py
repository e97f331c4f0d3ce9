"""ServiceEntry: addresses, and protocols that contradict each other. Istio 1.31: analyzers/serviceentry."""

from __future__ import annotations

from meshlib._analyze.report import Reporter
from meshlib._analyze.services import scopes
from meshlib._analyze.view import Item, Name, View
from meshlib.model.mesh_config import MeshConfig

__all__ = ["analyze_addresses", "analyze_protocols"]


def analyze_addresses(view: View, report: Reporter) -> None:
    """TCP ports of entries without address: nobody can tell their connections from others."""
    if _allocates(view.mesh):
        return
    for item in view.all("ServiceEntry"):
        if item.spec.node("addresses").value or item.top.node("status").items("addresses"):
            continue
        for port in item.spec.items("ports"):
            if port.text("protocol").upper() in ("", "TCP"):
                report.add("IST0134", item, at=(*port.path, "name"), show=port.path)


def _allocates(mesh: MeshConfig) -> bool:
    """Whether proxies hand out addresses by themselves."""
    config = mesh.default_config
    metadata = config.proxy_metadata if config is not None else {}
    if metadata.get("ISTIO_META_DNS_CAPTURE") != "true":
        return False
    return "true" in (metadata.get("ISTIO_META_DNS_AUTO_ALLOCATE"), metadata.get("PILOT_ENABLE_IP_AUTOALLOCATE"))


def analyze_protocols(view: View, report: Reporter) -> None:
    """One host and port with several protocols, where one namespace sees them together."""
    claims: dict[tuple[str, str, int], list[tuple[str, Item]]] = {}
    for item in view.all("ServiceEntry"):
        ports = [(port.number("number"), port.text("protocol").upper()) for port in item.spec.items("ports")]
        for scope in scopes(item.spec.texts("exportTo"), item.namespace):
            for host in item.spec.texts("hosts"):
                for number, protocol in ports:
                    claims.setdefault((scope, host, number), []).append((protocol, item))
    reported: set[Name] = set()
    for (scope, host, number), entries in claims.items():
        rivals = entries if scope == "*" else entries + claims.get(("*", host, number), [])
        protocols = sorted({protocol for protocol, _ in rivals})
        if len(protocols) < 2:
            continue
        names = ", ".join(sorted({item.full_name for _, item in rivals}))
        for _, item in rivals:
            if item.key not in reported:
                reported.add(item.key)
                shown = ", ".join(protocols)
                report.add("IST0177", item, names, host, number, shown, at=("metadata", "name"), show=("spec", "ports"))
