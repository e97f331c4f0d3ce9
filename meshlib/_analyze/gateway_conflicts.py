"""Gateways that listen for the same hosts at the same port of the same workload.

Istio 1.31: analyzers/gateway (conflictinggateway). Selectors count as the same if they are
equal, or if one is written within the other and a pod has the labels of both. Of several
servers of a Gateway at one port, the last one is what others conflict with; one that claims
a host of one before it conflicts with every other Gateway at the port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from meshlib._analyze.report import Reporter, selector_text
from meshlib._analyze.view import Item, Name, Node, View

__all__ = ["analyze_conflicts"]

Claim: TypeAlias = "tuple[int, str, str]"
"""A port, a host, and the address that it is bound to."""


@dataclass(slots=True)
class _Selector:
    """The Gateways of one selector, by what their last server at each port claims."""

    labels: Mapping[str, str]
    claims: dict[Claim, list[str]] = field(default_factory=dict)
    ports: dict[int, list[str]] = field(default_factory=dict)


def analyze_conflicts(view: View, report: Reporter) -> None:
    """All Gateways."""
    selectors = _selectors(view)
    by_pod = _by_pod(view, selectors)
    related: dict[str, list[_Selector]] = {}
    for item in view.all("Gateway"):
        labels = item.spec.labels("selector")
        text = selector_text(labels)
        if text not in related:
            names = [other for pod in view.pods.matching(labels) for other in by_pod.get(pod.key, ())]
            names = [other for other in (text, *names) if other in selectors and (text in other or other in text)]
            related[text] = [selectors[other] for other in dict.fromkeys(names)]
        if text and not related[text]:
            report.add("IST0101", item, "selector", text, at=("spec", "selector", min(labels)))
            continue
        claimed: set[Claim] = set()
        for server in item.spec.items("servers"):
            claims = _claims(server)
            _check_server(item, server, text, related[text], report, repeats=not claimed.isdisjoint(claims))
            claimed.update(claims)


def _selectors(view: View) -> dict[str, _Selector]:
    """The selectors of Gateways that have a server, by their text."""
    found: dict[str, _Selector] = {}
    for item in view.all("Gateway"):
        labels = item.spec.labels("selector")
        last = {server.node("port").number("number"): server for server in item.spec.items("servers")}
        for port, server in last.items():
            selector = found.setdefault(selector_text(labels), _Selector(labels))
            selector.ports.setdefault(port, []).append(item.full_name)
            for host in dict.fromkeys(server.texts("hosts")):
                selector.claims.setdefault((port, host, server.text("bind")), []).append(item.full_name)
    return found


def _by_pod(view: View, selectors: Mapping[str, _Selector]) -> dict[Name, list[str]]:
    """Which selectors each pod satisfies: only those of one pod can meet."""
    found: dict[Name, list[str]] = {}
    for text, selector in selectors.items():
        for pod in view.pods.matching(selector.labels):
            found.setdefault(pod.key, []).append(text)
    return found


def _claims(server: Node) -> list[Claim]:
    port, bind = server.node("port").number("number"), server.text("bind")
    return [(port, host, bind) for host in dict.fromkeys(server.texts("hosts"))]


def _check_server(
    item: Item, server: Node, selector: str, related: list[_Selector], report: Reporter, *, repeats: bool
) -> None:
    port, hosts = server.node("port").number("number"), server.texts("hosts")
    rivals = {name for candidate in related for claim in _claims(server) for name in candidate.claims.get(claim, ())}
    if repeats:
        rivals.update(name for candidate in related for name in candidate.ports.get(port, ()))
    rivals.discard(item.full_name)
    if rivals:
        names = ",".join(sorted(rivals))
        report.add("IST0145", item, names, selector, port, ",".join(hosts), show=(*server.path, "hosts"))
