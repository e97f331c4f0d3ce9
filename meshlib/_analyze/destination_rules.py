"""DestinationRule: its host, the pods of its subsets, and TLS that verifies nobody.

Istio 1.31: analyzers/destinationrule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from meshlib._analyze.report import Reporter
from meshlib._analyze.services import Hosts
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_pods", "analyze_verification"]

_REGION: Final = "topology.kubernetes.io/region"
_ZONE: Final = "topology.kubernetes.io/zone"
_SUBZONE: Final = "topology.istio.io/subzone"
_HOSTNAME: Final = "kubernetes.io/hostname"
_TOPOLOGY: Final = frozenset({_REGION, _ZONE, _SUBZONE, _HOSTNAME})


def analyze_verification(view: View, report: Reporter) -> None:
    """TLS to a server whose certificate nobody checks."""
    for item in view.all("DestinationRule"):
        policy = item.spec.node("trafficPolicy")
        mode = _unverified(item, policy.node("tls"))
        host = item.spec.text("host")
        if mode:
            at = (*policy.path, "tls", "caCertificates")
            report.add("IST0128", item, item.full_name, item.namespace, mode, host, at=at)
        for port in policy.items("portLevelSettings"):
            mode = _unverified(item, port.node("tls"))
            if mode:
                at, shown = (*port.path, "tls", "caCertificates"), _port_text(port.node("port"))
                report.add("IST0129", item, item.full_name, item.namespace, mode, host, shown, at=at)


def _unverified(item: Item, tls: Node) -> str:
    """The TLS mode, if it verifies nobody. Sidecars take a credential only with a workload selector."""
    mode = tls.text("mode")
    if mode not in ("SIMPLE", "MUTUAL") or tls.text("caCertificates"):
        return ""
    return "" if tls.text("credentialName") and item.spec.node("workloadSelector") else mode


def _port_text(port: Node) -> str:
    """As Go prints it."""
    if not port:
        return "<nil>"
    number = port.number("number")
    return f"number:{number}" if number else ""


def analyze_pods(view: View, report: Reporter) -> None:
    """Hosts that nothing defines, and subsets without pods."""
    hosts = Hosts(view)
    placed = list(_placed(view))
    for item in view.all("DestinationRule"):
        host = hosts.find(item.spec.text("host"), item.namespace, item.spec.texts("exportTo"))
        if host is None:
            report.add("IST0174", item, item.spec.text("host"), show=("spec", "host"))
            continue
        # As in Istio, subsets are told apart by name: of two with one name the later counts.
        for name, subset in {subset.text("name"): subset for subset in item.spec.items("subsets")}.items():
            selector = {**host.workloads, **subset.labels("labels")}
            if not _selects(view, placed, selector):
                report.add("IST0173", item, name, show=subset.path)


def _selects(view: View, placed: list[Mapping[str, str]], selector: Mapping[str, str]) -> bool:
    if _TOPOLOGY.isdisjoint(selector):
        return any(True for _ in view.pods.matching(selector))
    return any(selector.items() <= labels.items() for labels in placed)


def _placed(view: View) -> Iterator[Mapping[str, str]]:
    """The labels of pods, with those that say where their node is."""
    nodes = {node.name: node.labels for node in view.all("Node")}
    for pod in view.pods.all:
        node = pod.spec.text("nodeName")
        yield {**pod.labels, **_locality(nodes.get(node, {})), **({_HOSTNAME: node} if node else {})}


def _locality(node: Mapping[str, str]) -> Mapping[str, str]:
    """Region, zone and subzone, as far as none before is missing."""
    found = {}
    for name in (_REGION, _ZONE, _SUBZONE):
        if name != _REGION and not node.get(name):
            break
        found[name] = node.get(name, "")
    return {name: value for name, value in found.items() if value}
